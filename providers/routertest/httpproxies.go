package routertest

import (
	"strings"

	"pgregory.net/rapid"
)

// BetaHeader is a header by which users tell requests apart, with the value "yes".
const BetaHeader = "x-beta"

// ProxyRequest is a request for one that [DrawHTTPProxy] draws.
type ProxyRequest struct {
	// Path is its path.
	Path string
	// Beta and Insider say that it has the headers [BetaHeader] and [InsidersHeader].
	Beta, Insider bool
}

// ProxyRequests are those that tell such HTTPProxies apart.
func ProxyRequests() (out []ProxyRequest) {
	for _, path := range []string{"/", "/a", "/a/b/c", "/c"} {
		for _, beta := range []bool{false, true} {
			for _, insider := range []bool{false, true} {
				out = append(out, ProxyRequest{path, beta, insider})
			}
		}
	}
	return out
}

// DrawHTTPProxy draws the spec of an HTTPProxy of Contour: paths, headers, Services with ports and weights, and what else is
// done with requests. Some lead to the Service of the name.
func DrawHTTPProxy(t *rapid.T, apex string) map[string]any {
	var routes []any
	for _, path := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"/", "/a", "/a/b", "=/a"}), 1, 4, rapid.ID[string]).Draw(t, "paths") {
		condition := map[string]any{"prefix": path}
		if exact, ok := strings.CutPrefix(path, "="); ok {
			condition = map[string]any{"exact": exact}
		}
		for _, beta := range rapid.SampledFrom([][]bool{{false}, {false}, {false}, {true}, {false, true}}).Draw(t, "for beta testers") {
			conditions := []any{condition}
			if beta {
				header := map[string]any{"header": map[string]any{"name": BetaHeader, "exact": "yes"}}
				conditions = rapid.Permutation([]any{condition, header}).Draw(t, "conditions")
			}
			route := map[string]any{"conditions": conditions}
			if rapid.Bool().Draw(t, "web sockets") {
				route["enableWebsockets"] = true
			}
			routes = append(routes, withServices(t, route, apex))
		}
	}
	spec := map[string]any{"routes": routes}
	if rapid.Bool().Draw(t, "a root") {
		spec["virtualhost"] = map[string]any{"fqdn": "app.example.com"}
	}
	return spec
}

func withServices(t *rapid.T, route map[string]any, apex string) map[string]any {
	var services []any
	switch rapid.SampledFrom([]string{"ours", "ours", "another", "several", "the canary"}).Draw(t, "services") {
	case "ours":
		s := map[string]any{"name": apex, "port": rapid.SampledFrom([]int64{80, 9090}).Draw(t, "port")}
		if rapid.Bool().Draw(t, "h2c") {
			s["protocol"] = "h2c"
		}
		services = []any{s}
	case "another":
		services = []any{map[string]any{"name": "billing", "port": int64(80)}}
	case "several":
		services = []any{map[string]any{"name": "billing", "port": int64(80), "weight": int64(3)}, map[string]any{"name": "ledger", "port": int64(80), "weight": int64(1)}}
	default:
		services = []any{map[string]any{"name": apex + "-canary", "port": int64(80)}}
	}
	route["services"] = services
	return route
}
