package prometheus

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/metrics"
)

// Pain 15: what is sent so that a server knows who asks.
func TestWhatIsSent(t *testing.T) {
	for name, tc := range map[string]struct {
		secret  map[string]string
		headers http.Header
		prefix  string // of the host in the address
		params  string
		want    map[string]string // headers, and ?parameters
	}{
		"nothing":           {want: map[string]string{"Authorization": ""}},
		"basic":             {secret: map[string]string{"username": "u", "password": "p:w"}, want: map[string]string{"Authorization": "Basic dTpwOnc="}},
		"basic, line break": {secret: map[string]string{"username": "u\n", "password": "p:w\n"}, want: map[string]string{"Authorization": "Basic dTpwOnc="}},
		"bearer":            {secret: map[string]string{"token": "t0ken\n"}, want: map[string]string{"Authorization": "Bearer t0ken"}},
		"in the address":    {prefix: "u:p@", want: map[string]string{"Authorization": "Basic dTpw"}},
		"the Secret comes first": {
			prefix: "u:p@", headers: http.Header{"Authorization": {"Basic x"}}, secret: map[string]string{"token": "t"},
			want: map[string]string{"Authorization": "Bearer t"},
		},
		"headers":    {headers: http.Header{"x-scope-orgid": {"tenant"}, "Authorization": {"Custom x"}}, want: map[string]string{"X-Scope-Orgid": "tenant", "Authorization": "Custom x"}},
		"parameters": {params: "?dedup=true&tenant=a%26b", want: map[string]string{"?dedup": "true", "?tenant": "a&b"}},
	} {
		for method, refuse := range map[string]bool{"POST": false, "GET": true} {
			t.Run(name+" by "+method, func(t *testing.T) {
				var got map[string]string
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if refuse && r.Method == http.MethodPost {
						w.WriteHeader(http.StatusMethodNotAllowed)
						return
					}
					got = map[string]string{}
					for k := range tc.want {
						if parameter, ok := strings.CutPrefix(k, "?"); ok {
							got[k] = r.URL.Query().Get(parameter)
						} else {
							got[k] = r.Header.Get(k)
						}
					}
					if r.FormValue("query") != "up" || r.Method != method {
						t.Errorf("%s of %q", r.Method, r.FormValue("query"))
					}
					vector("1")(w, r)
				}))
				t.Cleanup(server.Close)
				address := strings.Replace(server.URL, "http://", "http://"+tc.prefix, 1) + "/prefix" + tc.params
				p, err := New(metrics.Config{Address: address, Headers: tc.headers, Secret: secret(tc.secret)})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := p.Query(t.Context(), metrics.Query{Expr: "up"}); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(tc.want, got); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

func secret(of map[string]string) map[string][]byte {
	out := map[string][]byte{}
	for k, v := range of {
		out[k] = []byte(v)
	}
	return out
}

func TestWrongSecrets(t *testing.T) {
	cert, key := newCertificate(t)
	other, _ := newCertificate(t)
	for name, tc := range map[string]struct {
		secret map[string]string
		field  string // empty: it is right
	}{
		"no password":        {map[string]string{"username": "u"}, "secret.password"},
		"no username":        {map[string]string{"password": "p4ssw0rd"}, "secret.username"},
		"none of the keys":   {map[string]string{"user": "u"}, "secret"},
		"not a CA":           {map[string]string{"ca.crt": "p4ssw0rd"}, "secret.ca.crt"},
		"no key":             {map[string]string{"tls.crt": cert}, "secret.tls.crt"},
		"no certificate":     {map[string]string{"tls.key": key}, "secret"},
		"another's key":      {map[string]string{"tls.crt": other, "tls.key": key}, "secret.tls.crt"},
		"a certificate only": {map[string]string{"tls.crt": cert, "tls.key": key}, ""},
		"a CA only":          {map[string]string{"ca.crt": cert}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(metrics.Config{Address: "http://p", Secret: secret(tc.secret)})
			var wrong *metrics.ConfigError
			if errors.As(err, &wrong); tc.field == "" && err != nil || tc.field != "" && (wrong == nil || wrong.Field != tc.field) {
				t.Errorf("error %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "p4ssw0rd") {
				t.Errorf("the message has the secret: %v", err)
			}
		})
	}
}

// TLS with a CA of one's own, a client certificate, and without any check.
func TestTLS(t *testing.T) {
	cert, key := newCertificate(t)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM([]byte(cert))
	server := httptest.NewUnstartedServer(vector("1"))
	server.TLS = &tls.Config{ClientCAs: clients, ClientAuth: tls.VerifyClientCertIfGiven}
	strict := httptest.NewUnstartedServer(vector("1"))
	strict.TLS = &tls.Config{ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	for _, s := range []*httptest.Server{server, strict} {
		s.StartTLS()
		t.Cleanup(s.Close)
	}
	ca := func(s *httptest.Server) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	}
	for name, tc := range map[string]struct {
		server *httptest.Server
		config metrics.Config
		wantOK bool
	}{
		"unknown CA":                    {server, metrics.Config{}, false},
		"any certificate":               {server, metrics.Config{InsecureSkipVerify: true}, true},
		"its CA":                        {server, metrics.Config{Secret: secret(map[string]string{"ca.crt": ca(server)})}, true},
		"another CA":                    {server, metrics.Config{Secret: secret(map[string]string{"ca.crt": cert})}, false},
		"no client certificate":         {strict, metrics.Config{Secret: secret(map[string]string{"ca.crt": ca(strict)})}, false},
		"client certificate":            {strict, metrics.Config{Secret: secret(map[string]string{"ca.crt": ca(strict), "tls.crt": cert, "tls.key": key})}, true},
		"client certificate, no checks": {strict, metrics.Config{InsecureSkipVerify: true, Secret: secret(map[string]string{"tls.crt": cert, "tls.key": key})}, true},
	} {
		t.Run(name, func(t *testing.T) {
			tc.config.Address = tc.server.URL
			p, err := New(tc.config)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Query(t.Context(), metrics.Query{Expr: "up"}); (err == nil) != tc.wantOK || err != nil && !metrics.IsUnavailable(err) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// What a server repeats of the credentials goes no further.
func TestCredentialsStayUntold(t *testing.T) {
	for name, status := range map[string]int{"refused": 401, "query refused": 400, "broken": 500} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				_, _ = w.Write([]byte(`{"status":"error","errorType":"bad_data","error":"you sent ` + r.Header.Get("Authorization") + ` and ` + r.URL.RawQuery + `"}`))
			}))
			t.Cleanup(server.Close)
			p, err := New(metrics.Config{Address: server.URL, Secret: secret(map[string]string{"token": "s3cret-token"})})
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Query(t.Context(), metrics.Query{Expr: "up"})
			if err == nil || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %v", err)
			}
		})
	}
	p, err := New(metrics.Config{Address: "http://u:p4ssw0rd@127.0.0.1:1/x?key=s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Query(t.Context(), metrics.Query{Expr: "up"})
	if !metrics.IsUnavailable(err) || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "p4ss") {
		t.Errorf("error %v", err)
	}
}

func newCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}
