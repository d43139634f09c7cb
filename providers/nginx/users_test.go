package nginx_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// TestUsersObjects draws an Ingress of a user's: hosts, paths, Services and ports, annotations of his own. What becomes of
// requests is what ingress-nginx does with them by it and by the canary Ingress.
func TestUsersObjects(t *testing.T) {
	outer := t
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		users := drawIngress(t)
		w := newWorld(outer, "", users)
		return &routertest.Users{
			Router: w.router, Route: providers.Route{Canary: canary()}, Closed: true, ByApex: true,
			Serve: func() []routertest.Outcome { return w.outcomes(outer) }, Stored: func() any { return w.stored(outer) },
			Check: func(t *rapid.T) {
				if now := w.get(outer, "web"); fmt.Sprint(now.Spec, now.Annotations, now.Labels) != fmt.Sprint(users.Spec, users.Annotations, users.Labels) {
					t.Fatalf("the user's Ingress is %+v", now)
				}
			},
		}
	})
}

var (
	hosts = []string{"", "app.example.com", "shop.example.com"}
	paths = []string{"/", "/a", "/a/b"}
)

func drawIngress(t *rapid.T) *networkingv1.Ingress {
	out := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "web", Annotations: map[string]string{}}}
	if rapid.Bool().Draw(t, "an annotation of the controller's") {
		out.Annotations["nginx.ingress.kubernetes.io/backend-protocol"] = "GRPC"
	}
	if rapid.Bool().Draw(t, "another") {
		out.Annotations["cert-manager.io/cluster-issuer"] = "a"
	}
	for _, host := range rapid.SliceOfNDistinct(rapid.SampledFrom(hosts), 1, len(hosts), rapid.ID[string]).Draw(t, "hosts") {
		http := &networkingv1.HTTPIngressRuleValue{}
		for _, path := range rapid.SliceOfNDistinct(rapid.SampledFrom(paths), 1, len(paths), rapid.ID[string]).Draw(t, "paths") {
			backend := &networkingv1.IngressServiceBackend{Name: rapid.SampledFrom([]string{"podinfo", "podinfo", "billing", "podinfo-canary"}).Draw(t, "service")}
			backend.Port.Number = rapid.SampledFrom([]int32{80, 9090}).Draw(t, "port")
			http.Paths = append(http.Paths, networkingv1.HTTPIngressPath{
				Path: path, PathType: new(networkingv1.PathTypePrefix), Backend: networkingv1.IngressBackend{Service: backend},
			})
		}
		out.Spec.Rules = append(out.Spec.Rules, networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: http}})
	}
	return out
}

// request is what ingress-nginx looks at.
type request struct {
	host, path string
	insider    bool
}

func (w *world) outcomes(t *testing.T) (out []routertest.Outcome) {
	t.Helper()
	all := &networkingv1.IngressList{}
	if err := w.List(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for _, host := range hosts {
		for _, path := range []string{"/", "/a", "/a/b/c", "/ab"} {
			for _, insider := range []bool{false, true} {
				r := request{host, path, insider}
				o := routertest.Outcome{Request: r, Matches: insider, Shares: map[string]float64{}}
				r.serve(all.Items, &o)
				out = append(out, o)
			}
		}
	}
	return out
}

// serve takes the longest path of the host, and of its canary the share that the annotations say.
func (r request) serve(all []networkingv1.Ingress, out *routertest.Outcome) {
	of := map[bool]*networkingv1.HTTPIngressPath{} // by whether it is of a canary
	annotations := map[bool]map[string]string{}
	for i := range all {
		isCanary := all[i].Annotations["nginx.ingress.kubernetes.io/canary"] == "true"
		annotations[isCanary] = all[i].Annotations
		for j := range all[i].Spec.Rules {
			rule := &all[i].Spec.Rules[j]
			if rule.Host != r.host || rule.HTTP == nil {
				continue
			}
			for k := range rule.HTTP.Paths {
				p := &rule.HTTP.Paths[k]
				if best := of[isCanary]; r.below(p.Path) && (best == nil || len(p.Path) > len(best.Path)) {
					of[isCanary] = p
				}
			}
		}
	}
	main, alternative := of[false], of[true]
	if main == nil {
		return
	}
	share := 0
	if alternative != nil && alternative.Path == main.Path {
		a := annotations[true]
		share, _ = strconv.Atoi(a["nginx.ingress.kubernetes.io/canary-weight"])
		if header := a["nginx.ingress.kubernetes.io/canary-by-header"]; header == routertest.InsidersHeader && r.insider {
			share = 100
		}
		out.Shares[target(alternative)] += float64(share)
	}
	out.Shares[target(main)] += float64(100 - share)
	out.Treatment = annotations[false]["nginx.ingress.kubernetes.io/backend-protocol"]
	if alternative != nil && annotations[true]["nginx.ingress.kubernetes.io/backend-protocol"] != out.Treatment {
		out.Treatment += " and not for the canary"
	}
}

func (r request) below(path string) bool {
	return path == "/" || r.path == path || strings.HasPrefix(r.path, path+"/")
}

func target(p *networkingv1.HTTPIngressPath) string {
	return fmt.Sprintf("%s:%d", p.Backend.Service.Name, p.Backend.Service.Port.Number)
}

func (w *world) stored(t *testing.T) any {
	t.Helper()
	all := &networkingv1.IngressList{}
	if err := w.List(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for _, o := range all.Items {
		out[o.Name] = []any{o.Spec, o.Labels, o.Annotations}
	}
	return out
}
