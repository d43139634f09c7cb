package builtin

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// TestLimitsAreRead has a load generator know the limits that the load tester gives it.
func TestLimitsAreRead(t *testing.T) {
	given := Limits{DataDir: "/data", AtOnce: 7, Targets: []string{"*.test", "a"}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	environment := map[string]string{}
	for _, pair := range append(given.Environment(), "KUBERNETES_SERVICE_HOST=10.96.0.1") {
		name, value, _ := strings.Cut(pair, "=")
		environment[name] = value
	}
	got, err := limitsOf(func(name string) string { return environment[name] })
	if err != nil || got.DataDir != given.DataDir || got.AtOnce != 7 || len(got.Targets) != 2 || got.Addresses[0] != given.Addresses[0] || got.APIServer.String() != "10.96.0.1" {
		t.Errorf("got %+v, error %v", got, err)
	}
	for _, name := range []string{atOnceVariable, addressesVariable} {
		if _, err := limitsOf(func(n string) string { return map[string]string{name: "x"}[n] }); err == nil {
			t.Errorf("%s=x is taken", name)
		}
	}
}

func TestCheckHost(t *testing.T) {
	api := Limits{APIServer: netip.MustParseAddr("10.96.0.1")}
	for name, tc := range map[string]struct {
		limits Limits
		host   string
		want   string // a part of the refusal
	}{
		"a pod":                         {api, "10.244.0.7", ""},
		"a pod by IPv6":                 {api, "fd00:10:244::7", ""},
		"the API server":                {api, "10.96.0.1", "the API server"},
		"loopback":                      {api, "127.1.2.3", "127.0.0.0/8"},
		"loopback, mapped":              {api, "::ffff:7f00:1", "127.0.0.0/8"},
		"loopback of IPv6":              {api, "::1", "::/96"},
		"loopback, translated":          {api, "::ffff:0:7f00:1", "::ffff:0:0:0/96"},
		"loopback, NAT64":               {api, "64:ff9b::7f00:1", "64:ff9b::/96"},
		"link-local with a zone":        {api, "fe80::1%eth0", "fe80::/10"},
		"metadata":                      {api, "169.254.169.254", "169.254.0.0/16"},
		"nowhere":                       {api, "0.0.0.0", "0.0.0.0/8"},
		"loopback that is allowed":      {Limits{Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, "127.0.0.1", ""},
		"another loopback":              {Limits{Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, "127.0.0.2", "127.0.0.0/8"},
		"a host of a pattern":           {Limits{Targets: []string{"*.test.svc"}}, "Podinfo.test.svc.", ""},
		"a host of no pattern":          {Limits{Targets: []string{"*.test.svc"}}, "podinfo.prod.svc", "none of the hosts"},
		"an address, where hosts count": {Limits{Targets: []string{"*.test.svc"}}, "10.244.0.7", "none of the hosts"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.limits.checkHost(t.Context(), tc.host)
			if (err != nil) != (tc.want != "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestCheckAnswer refuses what a name server says of a name that was harmless when it was looked at.
func TestCheckAnswer(t *testing.T) {
	name := dnsmessage.MustNewName("podinfo.test.")
	answer := func(body dnsmessage.ResourceBody) []byte {
		m := dnsmessage.Message{
			Header:    dnsmessage.Header{Response: true},
			Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
			Answers:   []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: body}},
		}
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return packet
	}
	for want, packets := range map[bool][][]byte{
		true:  {answer(&dnsmessage.AResource{A: [4]byte{10, 1, 2, 3}}), answer(&dnsmessage.CNAMEResource{CNAME: name})},
		false: {answer(&dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}), answer(&dnsmessage.AAAAResource{AAAA: netip.IPv6Loopback().As16()}), []byte("nonsense")},
	} {
		for _, packet := range packets {
			if err := (Limits{}).checkAnswer(packet); (err == nil) != want {
				t.Errorf("%q: error %v", packet, err)
			}
			near, far := net.Pipe()
			go func() {
				_, _ = far.Write(append([]byte{0, byte(len(packet))}, packet...))
				far.Close()
			}()
			s := &stream{Conn: near}
			got := make([]byte, 512)
			n, err := s.Read(got[:2])
			if err == nil {
				var more int
				more, err = s.Read(got[2:])
				n += more
			}
			if (err == nil) != want || want && n != len(packet)+2 {
				t.Errorf("over TCP, %q: %d bytes, error %v", packet, n, err)
			}
			near.Close()
		}
	}
}

// TestHeyFollowsNoRedirect has a server that may be called lead to one that may not.
func TestHeyFollowsNoRedirect(t *testing.T) {
	var reached atomic.Int32
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer secret.Close()
	app := httptest.NewServer(http.RedirectHandler(secret.URL, http.StatusTemporaryRedirect))
	defer app.Close()
	var out strings.Builder
	if err := hey(t.Context(), []string{"-n", "1", "-c", "1", app.URL}, local(""), &out, &out); err != nil {
		t.Fatal(err)
	}
	if reached.Load() != 0 || !strings.Contains(out.String(), "[307]") {
		t.Errorf("the other server had %d requests:\n%s", reached.Load(), out.String())
	}
}
