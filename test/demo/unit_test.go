package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sluice-delivery/sluice/test/cluster"
)

func TestReportOf(t *testing.T) {
	for _, tc := range []struct {
		name, log     string
		started       bool
		total, failed int64
		byWorkload    map[string]cluster.Counts
		p99           float64
	}{
		{name: "nothing yet"},
		{name: "nobody answers yet", log: " 000 0.001  000 0.001\n 503 0.002 \n"},
		{
			name:    "primary and canary",
			log:     " 000 0.001  000 0.001\n 200 0.002 podinfo-primary-5d4f-x2x\n 200 0.900 podinfo-7c9f-abc\n 200 0.002 podinfo-primary-5d4f-x2x\n",
			started: true, total: 3, p99: 2, // of three values the 99th percentile is the second
			byWorkload: map[string]cluster.Counts{"podinfo-primary": {Requests: 2}, "podinfo": {Requests: 1}},
		},
		{
			name:    "failures, and what answers is no pod of the application",
			log:     " 200 0.002 podinfo-primary-5d4f-x2x\n 000 5.000  000 5.000\n 500 0.001 Internal Server Error\n 200 0.001 gateway\n",
			started: true, total: 4, failed: 2, p99: 2,
			byWorkload: map[string]cluster.Counts{"podinfo-primary": {Requests: 1}, cluster.UnknownWorkload: {Requests: 3, Failed: 2}},
		},
		{name: "a line that is not whole", log: " 200 0.002 podinfo-primary-a-b\n 200 0.0", started: true, total: 1, p99: 2, byWorkload: map[string]cluster.Counts{"podinfo-primary": {Requests: 1}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := reportOf([]byte(tc.log))
			if got.Started != tc.started || got.Total != tc.total || got.Failed != tc.failed {
				t.Errorf("got %+v", got)
			}
			for name, want := range tc.byWorkload {
				if got.ByWorkload[name] != want {
					t.Errorf("%s: got %+v, want %+v", name, got.ByWorkload[name], want)
				}
			}
			if got.P99 != tc.p99 {
				t.Errorf("p99 is %v, want %v", got.P99, tc.p99)
			}
		})
	}
}

func TestPin(t *testing.T) {
	full := func() clientcmdapi.Config {
		c := clientcmdapi.NewConfig()
		for _, name := range []string{"mine", "production"} {
			c.Clusters[name] = &clientcmdapi.Cluster{Server: "https://" + name}
			c.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: "secret of " + name}
			c.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
		}
		c.CurrentContext = "mine"
		return *c
	}
	pinned, err := pin(full())
	if err != nil {
		t.Fatal(err)
	}
	if len(pinned.Clusters) != 1 || pinned.Clusters["mine"] == nil || len(pinned.AuthInfos) != 1 || pinned.CurrentContext != "mine" {
		t.Errorf("got %+v", pinned)
	}
	for want, edit := range map[string]func(*clientcmdapi.Config){
		"no current context":    func(c *clientcmdapi.Config) { c.CurrentContext = "" },
		`no context "gone"`:     func(c *clientcmdapi.Config) { c.CurrentContext = "gone" },
		`no cluster "mine", wh`: func(c *clientcmdapi.Config) { delete(c.Clusters, "mine") },
	} {
		config := full()
		edit(&config)
		if _, err := pin(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q", err, want)
		}
	}
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, "y": true, "n\n": false, "\n": false, "": false, "yikes\n": false} {
		var out bytes.Buffer
		got, err := confirm(strings.NewReader(answer), &out)
		if err != nil || got != want {
			t.Errorf("%q: %t, %v", answer, got, err)
		}
	}
}

func TestInjectionLabel(t *testing.T) {
	webhook := func(app, revision string, namespaces *metav1.LabelSelector) admissionv1.MutatingWebhookConfiguration {
		return admissionv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app, "istio.io/rev": revision}},
			Webhooks:   []admissionv1.MutatingWebhook{{NamespaceSelector: namespaces}},
		}
	}
	in := func(key string, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: values}
	}
	without := func(key string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpDoesNotExist}
	}
	enabled := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{in("istio-injection", "enabled"), without("istio.io/rev")}}
	canary := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{in("istio.io/rev", "canary"), without("istio-injection")}}
	never := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{in("istio-injection", "deactivated")}}
	for _, tc := range []struct {
		name     string
		webhooks []admissionv1.MutatingWebhookConfiguration
		want     string
	}{
		{"none", nil, ""},
		{"of others", []admissionv1.MutatingWebhookConfiguration{webhook("vault", "", enabled)}, ""},
		{"by the usual label", []admissionv1.MutatingWebhookConfiguration{webhook("sidecar-injector", "default", enabled)}, "istio-injection=enabled"},
		{"by its revision", []admissionv1.MutatingWebhookConfiguration{webhook("sidecar-injector", "canary", canary)}, "istio.io/rev=canary"},
		{"switched off", []admissionv1.MutatingWebhookConfiguration{webhook("sidecar-injector", "default", never)}, ""},
	} {
		if got := injectionLabel(tc.webhooks).String(); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestMetricsProxy has the proxy, which everybody on this machine reaches, lend the user's rights for metrics of the demo's pods
// and for nothing else.
func TestMetricsProxy(t *testing.T) {
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.Header.Get("Authorization")+" "+r.URL.EscapedPath()+"?"+r.URL.RawQuery)
	}))
	defer server.Close()
	for _, tc := range []struct{ provider, base, path string }{
		{"kubernetes", "", ":9898/proxy/metrics"}, {"kubernetes", "/behind", ":9898/proxy/metrics"}, {"istio", "/", ":15020/proxy/stats/prometheus"},
	} {
		proxy, err := metricsProxy(&rest.Config{Host: server.URL + tc.base, BearerToken: "secret"}, tc.provider)
		if err != nil {
			t.Fatal(err)
		}
		seen = nil
		for _, request := range []string{
			"GET /podinfo-a", "POST /podinfo-a", "GET /podinfo-a/x", "GET /", "GET /..", "GET /a%2F..%2F..%2Fsecrets", "GET /podinfo-a?x=y", "GET /podinfo-a%3Fx", "GET /api/v1/secrets", "GET /UPPER", "CONNECT /podinfo-a",
		} {
			method, target, _ := strings.Cut(request, " ")
			proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, target, nil))
		}
		whole := "GET Bearer secret " + strings.TrimSuffix(tc.base, "/") + "/api/v1/namespaces/sluice-demo/pods/podinfo-a" + tc.path + "?"
		if want := []string{whole, whole}; !slices.Equal(seen, want) {
			t.Errorf("%+v: got\n%q, want\n%q", tc, seen, want)
		}
	}
}
