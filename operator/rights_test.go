package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"

	"github.com/sluice-delivery/sluice/test/cluster"
)

// request is what the API server's authorizer looks at.
type request struct {
	verb, group, resource, name string
}

func (r request) String() string { return fmt.Sprintf("%s %s.%s", r.verb, r.resource, r.group) }

// audit has the requests that the operators of the tests have made, and one of their paths each.
var audit = struct {
	sync.Mutex
	made map[request]string
}{made: map[request]string{}}

// audited has the requests of a client remembered.
func audited(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			// What is not served has no object that a right would be for.
			// What is asked for as somebody else needs their rights.
			if asked, ok := asked(r); ok && err == nil && r.Header.Get("Impersonate-User") == "" && (response.StatusCode != http.StatusNotFound || asked.name != "") {
				audit.Lock()
				defer audit.Unlock()
				audit.made[asked] = r.URL.Path
				if response.StatusCode == http.StatusCreated { // a patch that creates needs that right, too
					asked.verb = "create"
					audit.made[asked] = r.URL.Path
				}
			}
			return response, err
		})
	})
	return config
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// asked reads a request as the API server does; false for one that is not about an object, such as discovery.
func asked(r *http.Request) (request, bool) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var out request
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		out.group, parts = parts[1], parts[3:]
	default:
		return out, false
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	out.resource = parts[0]
	if len(parts) > 1 {
		out.name = parts[1]
	}
	if len(parts) > 2 {
		out.resource += "/" + strings.Join(parts[2:], "/")
	}
	collection := len(parts) == 1
	switch r.Method {
	case http.MethodGet:
		out.verb = "get"
		if collection && r.URL.Query().Get("watch") != "" {
			out.verb = "watch"
		} else if collection {
			out.verb = "list"
		}
	case http.MethodPost:
		out.verb = "create"
	case http.MethodPut:
		out.verb = "update"
	case http.MethodPatch:
		out.verb = "patch"
	case http.MethodDelete:
		out.verb = "delete"
	}
	if out.resource == "leases" && out.verb == "list" { // of one name
		out.name = strings.TrimPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	} else if out.resource != "leases" {
		out.name = ""
	}
	return out, true
}

// allows tells whether a rule covers a request.
func allows(rule rbacv1.PolicyRule, r request) bool {
	has := func(list []string, value string) bool {
		return slices.Contains(list, value) || slices.Contains(list, "*")
	}
	return has(rule.Verbs, r.verb) && has(rule.APIGroups, r.group) && has(rule.Resources, r.resource) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.name))
}

// single takes rules apart into those that give one verb on one resource.
func single(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					out = append(out, rbacv1.PolicyRule{
						APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}, ResourceNames: rule.ResourceNames,
					})
				}
			}
		}
	}
	return out
}

// rulesOf are the rules that the chart gives the operator with these values.
func rulesOf(t *testing.T, values ...string) []rbacv1.PolicyRule {
	t.Helper()
	return rulesNamed(t, func(name string) bool {
		return name == "sluice" || name == "sluice-leases" || strings.HasPrefix(name, "sluice-secrets")
	}, values...)
}

// templated is what the chart makes in a namespace with these values.
func templated(t *testing.T, namespace string, values ...string) []byte {
	t.Helper()
	helm, err := cluster.Binary("helm")
	if err != nil {
		t.Fatal(err)
	}
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"template", "sluice", filepath.Join(root, "charts", "sluice"), "--namespace", namespace}
	for _, value := range values {
		args = append(args, "--set", value)
	}
	out, err := exec.CommandContext(t.Context(), helm, args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	return out
}

// rulesNamed are the rules of the chart's roles of some names.
func rulesNamed(t *testing.T, wanted func(name string) bool, values ...string) []rbacv1.PolicyRule {
	t.Helper()
	var rules []rbacv1.PolicyRule
	for documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(templated(t, "sluice-system", values...)), 4096); ; {
		var role rbacv1.ClusterRole // and a Role, which has the same fields
		if err := documents.Decode(&role); errors.Is(err, io.EOF) {
			return rules
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(role.Kind, "Role") && wanted(role.Name) {
			rules = append(rules, role.Rules...)
		}
	}
}

// alike are kinds that no operator of these tests works with, as they are not in the cluster or the same is done with
// another, and the one that is treated in the same way.
var alike = map[string]string{
	"apps/daemonsets":                                     "apps/deployments",
	"apps/statefulsets":                                   "apps/deployments",
	"apps/controllerrevisions":                            "apps/replicasets",
	"keda.sh/scaledobjects":                               "autoscaling/horizontalpodautoscalers",
	"/secrets":                                            "/configmaps",
	"gateway.networking.k8s.io/httproutes":                "networking.istio.io/destinationrules",
	"gateway.networking.k8s.io/grpcroutes":                "networking.istio.io/destinationrules",
	"policy.linkerd.io/httproutes":                        "networking.istio.io/destinationrules",
	"linkerd.io/serviceprofiles":                          "networking.istio.io/destinationrules",
	"traefik.io/traefikservices":                          "networking.istio.io/destinationrules",
	"apisix.apache.org/apisixroutes":                      "networking.istio.io/destinationrules",
	"serving.knative.dev/services":                        "networking.istio.io/virtualservices",
	"kuma.io/trafficroutes":                               "networking.istio.io/destinationrules",
	"projectcontour.io/httpproxies":                       "networking.istio.io/destinationrules",
	"networking.k8s.io/ingresses":                         "networking.istio.io/destinationrules",
	"networking.istio.io/proxyconfigs":                    "policy/poddisruptionbudgets",
	"extensions.istio.io/wasmplugins":                     "policy/poddisruptionbudgets",
	"cilium.io/ciliumnetworkpolicies":                     "policy/poddisruptionbudgets",
	"projectcalico.org/networkpolicies":                   "policy/poddisruptionbudgets",
	"crd.projectcalico.org/networkpolicies":               "policy/poddisruptionbudgets",
	"gateway.networking.k8s.io/backendtlspolicies":        "policy/poddisruptionbudgets",
	"gateway.networking.x-k8s.io/xbackendtrafficpolicies": "policy/poddisruptionbudgets",
	"gateway.nginx.org/upstreamsettingspolicies":          "policy/poddisruptionbudgets",
	"gateway.kgateway.dev/backendconfigpolicies":          "policy/poddisruptionbudgets",
	"gateway.envoyproxy.io/backendtrafficpolicies":        "policy/poddisruptionbudgets",
	"gateway.envoyproxy.io/envoyextensionpolicies":        "policy/poddisruptionbudgets",
	"gateway.envoyproxy.io/securitypolicies":              "policy/poddisruptionbudgets",
	"gateway.kgateway.dev/trafficpolicies":                "policy/poddisruptionbudgets",
	"kuadrant.io/authpolicies":                            "policy/poddisruptionbudgets",
	"kuadrant.io/ratelimitpolicies":                       "policy/poddisruptionbudgets",
	"networking.gke.io/gcpbackendpolicies":                "policy/poddisruptionbudgets",
	"networking.gke.io/healthcheckpolicies":               "policy/poddisruptionbudgets",
	"application-networking.k8s.aws/targetgrouppolicies":  "policy/poddisruptionbudgets",
	"gateway.k8s.aws/targetgroupconfigurations":           "policy/poddisruptionbudgets",
}

// elsewhere are rights whose use other tests show.
var elsewhere = map[request]string{
	{verb: "get", group: "gateway.networking.k8s.io", resource: "gateways"}:       "providers/internal/gateway: what a class says that it supports",
	{verb: "get", group: "gateway.networking.k8s.io", resource: "gatewayclasses"}: "providers/internal/gateway: what a class says that it supports",
	{verb: "list", group: "external.metrics.k8s.io", resource: "*"}:               "metrics/externalmetrics",
	{verb: "get", group: "metrics.keptn.sh", resource: "keptnmetrics"}:            "metrics/keptn",
	{verb: "get", group: "metrics.keptn.sh", resource: "analyses"}:                "metrics/keptn",
	{verb: "create", group: "metrics.keptn.sh", resource: "analyses"}:             "metrics/keptn",
	{verb: "delete", group: "metrics.keptn.sh", resource: "analyses"}:             "metrics/keptn",
	{verb: "delete", group: "autoscaling", resource: "horizontalpodautoscalers"}:  "operator/autoscaling: the primary's, once its Canary names none",
	{verb: "delete", group: "keda.sh", resource: "scaledobjects"}:                 "operator/autoscaling: the primary's, once its Canary names none",
	{verb: "create", resource: "configmaps"}:                                      "test/e2e: copies for the primary",
	{verb: "create", resource: "secrets"}:                                         "test/e2e: copies for the primary",
	{verb: "get", group: "networking.istio.io", resource: "virtualservices"}:      "providers/istio: a user's, when it is adopted",
	{verb: "get", group: "serving.knative.dev", resource: "revisions"}:            "operator/primaries: whether Knative still has what a rollback asks for",
	{verb: "delete", group: "sluice.dev", resource: "canaryactions"}:              "operator/actions: those that ended a day ago",
}

// testRights holds the chart's rules to the requests that the operators of all tests before have made: each request
// has a rule, and of each rule each verb on each resource has a request.
func testRights(t *testing.T, whole bool) {
	audit.Lock()
	made := maps.Clone(audit.made)
	audit.Unlock()
	rules := rulesOf(t, "coverage=copy", "leaderElection.enabled=true")
	for _, r := range slices.SortedFunc(maps.Keys(made), func(a, b request) int { return strings.Compare(a.String(), b.String()) }) {
		if !slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool { return allows(rule, r) }) {
			t.Errorf("the chart gives no right to %s (%s %s)", r, r.name, made[r])
		}
	}
	if !whole {
		t.Log("whether each right is used is known after all tests only")
		return
	}
	for _, rule := range single(rules) {
		group, resource, verb := rule.APIGroups[0], rule.Resources[0], rule.Verbs[0]
		if _, ok := elsewhere[request{verb: verb, group: group, resource: resource}]; ok {
			continue
		}
		if verb == "list" { // what a watch begins with where the API server does not stream the first state of it
			rule.Verbs = []string{"list", "watch"}
		}
		if like, ok := alike[group+"/"+resource]; ok {
			group, resource, _ = strings.Cut(like, "/")
			rule.APIGroups, rule.Resources = []string{group}, []string{resource}
		}
		used := func(r request) bool { return allows(rule, r) }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(made)), used) {
			t.Errorf("nothing needs the right to %s %s.%s %v", verb, resource, group, rule.ResourceNames)
		}
	}
}
