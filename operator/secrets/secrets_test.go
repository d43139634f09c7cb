package secrets

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestData(t *testing.T) {
	secret := func(name, value string) *corev1.Secret {
		s := &corev1.Secret{Data: map[string][]byte{"key": []byte(value)}}
		s.Namespace, s.Name = "test", name
		return s
	}
	api := fake.NewClientBuilder().WithObjects(secret("a", "1")).Build()
	reads := 0
	live := interceptor.NewClient(api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			reads++
			return c.Get(ctx, key, o, opts...)
		},
	})
	r := New(api, live, true)
	want := func(value string, wantReads int) {
		t.Helper()
		data, err := r.Data(t.Context(), "test", "a", Use{Purpose: Metrics, Host: "prometheus"})
		if err != nil || string(data["key"]) != value || reads != wantReads {
			t.Errorf("%q after %d reads, %v; want %q after %d", data["key"], reads, err, value, wantReads)
		}
	}
	want("1", 1)
	want("1", 1)
	if err := api.Update(t.Context(), secret("a", "2")); err != nil {
		t.Fatal(err)
	}
	want("2", 2) // rotated: read again
	if err := api.Delete(t.Context(), secret("a", "")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Data(t.Context(), "test", "a", Use{Purpose: Metrics, Host: "prometheus"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if len(r.known) != 0 {
		t.Error("what is gone is still known")
	}
	if err := api.Create(t.Context(), secret("a", "3")); err != nil {
		t.Fatal(err)
	}
	want("3", 3)
}

func TestBound(t *testing.T) {
	r := New(nil, nil, true)
	for i := range most + 10 {
		r.remember(client.ObjectKey{Name: fmt.Sprint(i)}, content{})
	}
	if len(r.known) != most {
		t.Errorf("%d contents are kept", len(r.known))
	}
}

// A Secret goes only where its owner has said, and one of the cluster's own nowhere: a user who can name any Secret and
// any server could read a ServiceAccount's token with both.
func TestConsent(t *testing.T) {
	metrics := Use{Purpose: Metrics, Host: "prometheus.example.com"}
	marked := func(usedFor, hosts string) map[string]string {
		return map[string]string{UsedForAnnotation: usedFor, HostsAnnotation: hosts}
	}
	for name, tc := range map[string]struct {
		kind        corev1.SecretType
		annotations map[string]string
		refuse      bool // Secrets without annotations
		use         Use
		want        string // a part of the refusal
	}{
		"says nothing":                  {use: metrics},
		"says nothing, multi-tenant":    {refuse: true, use: metrics, want: "sluice.dev/used-for: metrics and sluice.dev/hosts: prometheus.example.com"},
		"for this":                      {refuse: true, annotations: marked("hooks, metrics", "prometheus.example.com"), use: metrics},
		"for hosts below":               {annotations: marked("metrics", "a.test,*.example.com"), use: metrics},
		"for all hosts":                 {annotations: marked("metrics", "*"), use: metrics},
		"for another purpose":           {annotations: marked("hooks", "*"), use: metrics, want: `may not be used for metrics: its annotation sluice.dev/used-for is "hooks"`},
		"for another host":              {annotations: marked("metrics", "example.com"), use: metrics, want: `may not be sent to prometheus.example.com`},
		"for a name that ends like it":  {annotations: marked("metrics", "*.ample.com"), use: metrics, want: "may not be sent"},
		"for no host":                   {annotations: map[string]string{UsedForAnnotation: "metrics"}, use: metrics, want: "may not be sent"},
		"for no purpose":                {annotations: map[string]string{HostsAnnotation: "*"}, use: metrics, want: "may not be used for metrics"},
		"nobody but itself says where":  {refuse: true, annotations: marked("alerts", "chat.test"), use: Use{Purpose: Alerts}},
		"a ServiceAccount's token":      {kind: corev1.SecretTypeServiceAccountToken, use: metrics, want: "is of type kubernetes.io/service-account-token, which is never sent anywhere"},
		"such a token, with annotation": {kind: corev1.SecretTypeServiceAccountToken, annotations: marked("metrics", "*"), use: metrics, want: "never sent"},
		"credentials of a registry":     {kind: corev1.SecretTypeDockerConfigJson, use: metrics, want: "never sent"},
		"a release of Helm":             {kind: "helm.sh/release.v1", use: metrics, want: "never sent"},
		"a certificate":                 {kind: corev1.SecretTypeTLS, use: metrics},
	} {
		t.Run(name, func(t *testing.T) {
			s := &corev1.Secret{Type: tc.kind, Data: map[string][]byte{"token": []byte("t")}}
			s.Namespace, s.Name, s.Annotations = "test", "a", tc.annotations
			api := fake.NewClientBuilder().WithObjects(s).Build()
			r := New(api, api, !tc.refuse)
			for range 2 { // what is known is asked as well
				data, err := r.Data(t.Context(), "test", "a", tc.use)
				refused := AsRefused(err)
				switch {
				case tc.want == "" && (err != nil || string(data["token"]) != "t"):
					t.Errorf("got %v", err)
				case tc.want != "" && (data != nil || refused == nil || !strings.Contains(refused.Error(), tc.want)):
					t.Errorf("got %v, want %q", err, tc.want)
				}
			}
		})
	}
}

// TestNamespacesOfSecrets reads no Secret outside of the namespaces whose Secrets may be read.
func TestNamespacesOfSecrets(t *testing.T) {
	r := New(nil, nil, true, "monitoring", "shop") // it would panic
	_, err := r.Data(t.Context(), "kube-system", "token", Use{Purpose: Metrics, Host: "a"})
	if refused := AsRefused(err); refused == nil || !strings.Contains(err.Error(), "in monitoring, shop only (-secret-namespaces)") {
		t.Errorf("got %v", err)
	}
}
