package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// TestOnClusterWithIstiod reads from a real istiod what it makes of the routes
// that we write: what it tells Envoy is what requests do.
func TestOnClusterWithIstiod(t *testing.T) {
	e := setUp(t, cluster.Options{Progress: os.Stderr, Node: true, Istio: true})
	t.Run("istio tells sidecars", func(t *testing.T) { testSidecar(t, e) })
	t.Run("a user's objects", func(t *testing.T) { testIstiodUsers(t, e) })
}

func testSidecar(t *testing.T, e *environment) {
	canary := e.canary(t, v1beta1.CanaryService{
		Timeout: "5s", Retries: new(raw(`{"attempts":3,"retryOn":"gateway-error"}`)),
		Match: []v1beta1.RawObject{raw(`{"uri":{"prefix":"/app"},"headers":{"cookie":{"regex":".*theme.*"}}}`)},
	})
	canary.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "version", PrimaryCookieName: "old"}
	canary.Spec.Analysis.Match = []v1beta1.RawObject{
		raw(`{"headers":{"x-canary":{"exact":"yes"}}}`), raw(`{"headers":{"cookie":{"regex":".*insider.*"}}}`),
	}
	for _, name := range []string{app, app + "-primary", app + "-canary"} {
		e.create(t, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: canary.Namespace, Name: name},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		})
	}
	const (
		service = "/app cookie~.*theme.* "
		set     = " timeout 5s retries 3"
	)
	router := e.istio(e.cached)
	for _, tc := range []struct {
		name    string
		traffic providers.Traffic
		want    []string
		match   []v1beta1.RawObject // in place of the Canary's
	}{
		{name: "weights", traffic: providers.Traffic{Primary: 70, Canary: 30}, want: []string{service + "-> primary 70, canary 30" + set}},
		{name: "A/B", traffic: providers.Traffic{Canary: 100, Matched: true}, want: []string{
			service + "x-canary=yes -> canary" + set,
			"/app cookie~.*insider.* cookie~.*theme.* -> canary" + set,
			service + "-> primary" + set,
		}},
		{
			// This sidecar's pod has no such label. Istio would pass over it beside the gateway.
			name: "A/B of others", traffic: providers.Traffic{Canary: 100, Matched: true}, want: []string{service + "-> primary" + set},
			match: []v1beta1.RawObject{raw(`{"sourceLabels":{"app":"another"},"gateways":["mesh"]}`), raw(`{"sourceNamespace":"another"}`)},
		},
		{name: "mirror", traffic: providers.Traffic{Primary: 100, Mirror: 20}, want: []string{service + "-> primary" + set + " mirror canary 20"}},
		{name: "sessions", traffic: providers.Traffic{Primary: 70, Canary: 30, Sessions: providers.Sessions{Canary: "c1", Primary: "s1", Raised: 10}}, want: []string{
			`/app cookie~(.*;\s*)?version=c1\s*(;.*)? cookie~.*theme.* -> canary` + set,
			`/app cookie~(.*;\s*)?old=s1\.d0f631ca\s*(;.*)? cookie~.*theme.* -> primary` + set,
			`/app cookie~(.*;\s*)?old=[^;]*\.d0f631ca\s*(;.*)? cookie~.*theme.* -> primary 70 sets old=s1.d0f631ca; Max-Age=86400; Path=/, canary 10 sets version=c1; Max-Age=86400; Path=/` + set,
			service + "-> primary 70 sets old=s1.d0f631ca; Max-Age=86400; Path=/, canary 30 sets version=c1; Max-Age=86400; Path=/" + set,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			canary := canary.DeepCopy()
			if tc.match != nil {
				canary.Spec.Analysis.Match, canary.Generation = tc.match, canary.Generation+1
			}
			settle(t, router, providers.Route{Canary: canary, Traffic: tc.traffic})
			await(t, "istiod's routes", func(ctx context.Context) error {
				got, err := sidecarRoutes(ctx, canary.Namespace)
				if d := cmp.Diff(tc.want, got); err == nil && d != "" {
					err = fmt.Errorf("(-want +got)\n%s", d)
				}
				return err
			})
		})
	}
}

// envoy is what we look at in a RouteConfiguration.
type envoy struct {
	VirtualHosts []struct {
		Name   string
		Routes []envoyRoute
	}
}

type envoyRoute struct {
	Match struct {
		Prefix, PathSeparatedPrefix string

		Headers []struct {
			Name        string
			StringMatch struct {
				Exact     string
				SafeRegex struct{ Regex string }
			}
		}
	}
	Route struct {
		Cluster          string
		WeightedClusters struct{ Clusters []envoyCluster }
		Timeout          string
		RetryPolicy      struct{ NumRetries int }

		RequestMirrorPolicies []struct {
			Cluster         string
			RuntimeFraction struct {
				DefaultValue struct {
					Numerator   int
					Denominator string
				}
			}
		}
	}
}

type envoyCluster struct {
	Name                 string
	Weight               int
	ResponseHeadersToAdd []struct{ Header struct{ Key, Value string } }
}

// sidecarRoutes are the routes to the application, one line each, as a sidecar in the namespace gets them.
func sidecarRoutes(ctx context.Context, namespace string) ([]string, error) {
	binary, err := cluster.Binary("meshclient")
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, binary, "routes", "-namespace", namespace).Output()
	if err != nil {
		return nil, fmt.Errorf("meshclient routes: %w", err)
	}
	var config envoy
	if err := json.Unmarshal(out, &config); err != nil {
		return nil, err
	}
	for _, host := range config.VirtualHosts {
		if strings.HasPrefix(host.Name, app+"."+namespace+".") {
			var lines []string
			for _, r := range host.Routes {
				lines = append(lines, r.String())
			}
			return lines, nil
		}
	}
	return nil, fmt.Errorf("no routes to %s.%s", app, namespace)
}

// String is path, header conditions in order, destinations with weights and
// cookies, timeout, retries and mirrors.
func (r envoyRoute) String() string {
	words := []string{}
	for _, h := range r.Match.Headers {
		name := strings.ToLower(h.Name) // as Envoy reads it
		word := name + "~" + h.StringMatch.SafeRegex.Regex
		if h.StringMatch.Exact != "" {
			word = name + "=" + h.StringMatch.Exact
		}
		words = append(words, word)
	}
	sort.Strings(words)
	words = append([]string{r.Match.Prefix + r.Match.PathSeparatedPrefix}, words...)
	words = append(words, "->", r.destinations(), "timeout", r.Route.Timeout, "retries", fmt.Sprint(r.Route.RetryPolicy.NumRetries))
	for _, m := range r.Route.RequestMirrorPolicies {
		fraction := m.RuntimeFraction.DefaultValue
		per := map[string]int{"": 1, "HUNDRED": 1, "TEN_THOUSAND": 100, "MILLION": 10000}[fraction.Denominator]
		words = append(words, "mirror", side(m.Cluster), fmt.Sprint(fraction.Numerator/per))
	}
	return strings.Join(words, " ")
}

func (r envoyRoute) destinations() string {
	var parts []string
	for _, c := range r.Route.WeightedClusters.Clusters {
		part := fmt.Sprintf("%s %d", side(c.Name), c.Weight)
		for _, h := range c.ResponseHeadersToAdd {
			part += " sets " + h.Header.Value
		}
		parts = append(parts, part)
	}
	switch len(parts) {
	case 0:
		return side(r.Route.Cluster)
	case 1:
		return strings.TrimSuffix(parts[0], " 100") // istiod leaves out what has weight 0
	}
	return strings.Join(parts, ", ")
}

// side turns outbound|80||podinfo-canary.NAMESPACE.svc.cluster.local into canary.
func side(cluster string) string {
	host := cluster[strings.LastIndex(cluster, "|")+1:]
	name, _, _ := strings.Cut(host, ".")
	return strings.TrimPrefix(name, app+"-")
}
