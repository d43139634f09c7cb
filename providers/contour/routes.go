package contour

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/requests"
	"github.com/sluice-delivery/sluice/providers/internal/shares"
)

// plan is what the spec of a Canary says about routes.
type plan struct {
	canary *v1beta1.Canary
	// bases are the routes of ours, without Services.
	bases []map[string]any
	// settings are the fields of routes that the spec sets.
	settings map[string]any
	// matched are the conditions of spec.analysis.match, alternatives of each other.
	matched []requests.Match
}

func unsupported(field, why string) error {
	return &providers.UnsupportedError{Router: v1beta1.ProviderContour, Field: field, Why: why}
}

func planOf(c *v1beta1.Canary) (plan, error) {
	p := plan{canary: c}
	var err error
	if p.settings, err = settings(&c.Spec.Service); err != nil {
		return p, err
	}
	if p.matched, err = requests.Read(v1beta1.ProviderContour, "spec.analysis.match", c.GetAnalysis().Match); err != nil {
		return p, err
	}
	matches, err := requests.Read(v1beta1.ProviderContour, "spec.service.match", c.Spec.Service.Match)
	if err != nil {
		return p, err
	}
	if len(matches) == 0 {
		matches = []requests.Match{{}}
	}
	for _, m := range matches {
		if m.Path == nil {
			m.Path = &requests.Value{Prefix: "/"}
		}
		base := maps.Clone(p.settings)
		base["conditions"] = conditions(m)
		p.bases = append(p.bases, base)
	}
	return p, nil
}

// settings are the fields of a route for timeouts and retries. The time without any data on a stream is that of Flagger.
func settings(s *v1beta1.CanaryService) (map[string]any, error) {
	out := map[string]any{}
	if s.Timeout != "" {
		out["timeoutPolicy"] = map[string]any{"response": s.Timeout, "idle": "5m"}
	}
	if s.Retries == nil {
		return out, nil
	}
	var r struct {
		Attempts      int64  `json:"attempts"`
		PerTryTimeout string `json:"perTryTimeout"`
		RetryOn       string `json:"retryOn"`
	}
	d := json.NewDecoder(bytes.NewReader(s.Retries.Raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, unsupported("spec.service.retries", fmt.Sprintf("it retries by attempts, perTryTimeout and retryOn (%v)", err))
	}
	policy := map[string]any{"count": r.Attempts}
	if r.Attempts == 0 {
		policy["count"] = int64(-1) // 0 means Envoy's default, which is to retry once
	}
	if r.PerTryTimeout != "" {
		policy["perTryTimeout"] = r.PerTryTimeout
	}
	var on []any
	for reason := range strings.SplitSeq(r.RetryOn, ",") {
		if reason = strings.TrimSpace(reason); reason != "" {
			on = append(on, reason)
		}
	}
	if len(on) > 0 {
		policy["retryOn"] = on
	}
	out["retryPolicy"] = policy
	return out, nil
}

// conditions are those of a route for the requests of a match. That on the path comes last: how the last one of a route has
// the path is how Contour has it, and with a header there it takes an exact path for a prefix.
func conditions(m requests.Match) []any {
	var out []any
	for _, h := range m.Headers {
		c := map[string]any{"name": h.Name}
		switch {
		case h.Exact != "":
			c["exact"] = h.Exact
		case h.Value == (requests.Value{}):
			c["present"] = true
		case h.Prefix != "", h.Suffix != "":
			c["contains"] = cmp.Or(h.Prefix, h.Suffix) // as with Flagger, whose documentation finds phones by the prefix "Mobile" of user-agent
		default:
			c["regex"] = h.Expression()
		}
		out = append(out, map[string]any{"header": c})
	}
	for _, q := range m.Params {
		c := map[string]any{"name": q.Name}
		for key, value := range map[string]string{"exact": q.Exact, "prefix": q.Prefix, "suffix": q.Suffix, "regex": q.Regex} {
			if value != "" {
				c[key] = value
			}
		}
		if q.Value == (requests.Value{}) {
			c["present"] = true
		}
		out = append(out, map[string]any{"queryParameter": c})
	}
	if m.Path != nil {
		switch {
		case m.Path.Exact != "":
			out = append(out, map[string]any{"exact": m.Path.Exact})
		case m.Path.Prefix != "":
			out = append(out, map[string]any{"prefix": m.Path.Prefix})
		default:
			out = append(out, map[string]any{"regex": m.Path.Regex})
		}
	}
	return out
}

// ours are the routes of an HTTPProxy that is made for the Canary. Its Services tell a Linkerd behind Contour where
// requests are to go, as with Flagger.
func (p plan) ours(t providers.Traffic) ([]any, error) {
	var out []any
	for _, base := range p.bases {
		shared, err := p.share(base, map[string]any{"port": int64(p.canary.Spec.Service.Port)}, true, t)
		if err != nil {
			return nil, err
		}
		out = append(out, shared...)
	}
	return out, nil
}

// share divides the requests of a route, given without Services, by the traffic. service is what each Service of it has
// beside its name and its weight.
func (p plan) share(base, service map[string]any, override bool, t providers.Traffic) ([]any, error) {
	services := func(primary, canary int32) []any {
		_, toPrimary, toCanary := p.canary.ServiceNames()
		out := []any{p.service(service, override, toPrimary, primary)}
		if canary > 0 || !t.Matched && t.Mirror == 0 {
			out = append(out, p.service(service, override, toCanary, canary))
		}
		if t.Mirror > 0 {
			mirror := p.service(service, override, toCanary, t.Mirror)
			mirror["mirror"] = true
			out = append(out, mirror)
		}
		return out
	}
	var out []any
	if t.Matched {
		for _, m := range p.matched {
			narrow, err := narrowed(base, m)
			if err != nil {
				return nil, err
			}
			narrow["services"] = services(t.Primary, t.Canary)
			out = append(out, narrow)
		}
		t.Primary, t.Canary = 100, 0
	}
	route := maps.Clone(base)
	route["services"] = services(t.Primary, t.Canary)
	return append(out, route), nil
}

func (p plan) service(template map[string]any, override bool, name string, weight int32) map[string]any {
	out := maps.Clone(template)
	out["name"], out["weight"] = name, int64(weight)
	if override {
		value := fmt.Sprintf("%s.%s.svc.cluster.local:%v", name, p.canary.Namespace, template["port"])
		out["requestHeadersPolicy"] = map[string]any{"set": []any{map[string]any{"name": "l5d-dst-override", "value": value}}}
	}
	return out
}

// narrowed is a route for those of its requests that fit m as well. A route has one condition on the path.
func narrowed(base map[string]any, m requests.Match) (map[string]any, error) {
	out := maps.Clone(base)
	had, _ := base["conditions"].([]any)
	if m.Path != nil {
		remaining := slices.DeleteFunc(slices.Clone(had), isAnyPath)
		if slices.ContainsFunc(remaining, isPath) {
			return nil, unsupported(m.Field+".uri", "a route of an HTTPProxy has one condition on the path, and there is another one; leave one of them out")
		}
		out["conditions"] = append(remaining, conditions(m)...)
		return out, nil
	}
	out["conditions"] = append(conditions(m), had...) // the last one stays the last
	return out, nil
}

func isPath(condition any) bool {
	c, _ := condition.(map[string]any)
	return c["prefix"] != nil || c["exact"] != nil || c["regex"] != nil
}

func isAnyPath(condition any) bool {
	c, _ := condition.(map[string]any)
	return c["prefix"] == "/"
}

// users are the routes of a user's HTTPProxy: those to the apex Service are divided in their places, with what they have
// beside it, and all others are as they were. Without one to the apex Service ours come last.
func (p plan) users(name string, spec map[string]any, t providers.Traffic) ([]any, error) {
	apex, _, _ := p.canary.ServiceNames()
	had, _ := spec["routes"].([]any)
	var out []any
	found, conditional := false, false
	for i, one := range had {
		route, _ := one.(map[string]any)
		services, _ := route["services"].([]any)
		if !slices.ContainsFunc(services, func(s any) bool { return nameOf(s) == apex }) {
			conditional = conditional || hasConditions(route)
			out = append(out, one)
			continue
		}
		if len(services) != 1 {
			return nil, &providers.InvalidError{
				Field: fmt.Sprintf("HTTPProxy %s: spec.routes[%d].services", name, i), Value: apex, Allowed: "Service " + apex + " alone, as its requests are shared out between the primary and the canary",
			}
		}
		found = true
		template := maps.Clone(services[0].(map[string]any)) //nolint:forcetypeassert // it has a name
		delete(template, "weight")
		base := maps.Clone(route)
		maps.Copy(base, p.settings)
		shared, err := p.share(base, template, false, t)
		if err != nil {
			return nil, err
		}
		out = append(out, shared...)
	}
	switch {
	case found && len(p.canary.Spec.Service.Match) > 0:
		return nil, &providers.InvalidError{
			Field: "spec.service.match", Allowed: "nothing, as HTTPProxy " + name + ", which is yours, has routes to Service " + apex + " with conditions of their own",
		}
	case conditional && len(p.matched) > 0:
		return nil, unsupported("spec.analysis.match", "HTTPProxy "+name+" has routes that lead elsewhere by headers or parameters, and it is not defined which of two such routes comes first")
	case found:
		return out, nil
	}
	ours, err := p.ours(t)
	if err != nil {
		return nil, err
	}
	return append(out, ours...), p.apart(name, had, ours)
}

// apart refuses routes of ours for the very requests of a route of the user's: Contour knows routes by their conditions, and those
// requests would be lost to his Services.
func (p plan) apart(name string, users, ours []any) error {
	for i, one := range users {
		had := conditionsOf(one)
		if slices.ContainsFunc(ours, func(o any) bool { return conditionsOf(o) == had }) {
			apex, _, _ := p.canary.ServiceNames()
			return &providers.InvalidError{
				Field: fmt.Sprintf("HTTPProxy %s: spec.routes[%d]", name, i), Value: had,
				Allowed: "a route to Service " + apex + " in this HTTPProxy, or spec.service.match for requests that no route of it is for",
			}
		}
	}
	return nil
}

// conditionsOf names the requests that a route is for.
func conditionsOf(route any) string {
	r, _ := route.(map[string]any)
	list, _ := r["conditions"].([]any)
	if len(list) == 0 {
		return anyPath
	}
	var all []string
	for _, c := range list {
		all = append(all, fmt.Sprint(c)) // the keys of a map are in order
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// anyPath is conditionsOf a route for all requests.
var anyPath = fmt.Sprint(map[string]any{"prefix": "/"})

// hasConditions tells whether a route has conditions beside that on the path.
func hasConditions(route map[string]any) bool {
	conditions, _ := route["conditions"].([]any)
	return slices.ContainsFunc(conditions, func(c any) bool { return !isPath(c) })
}

func nameOf(service any) string {
	s, _ := service.(map[string]any)
	name, _ := s["name"].(string)
	return name
}

// led tells whether a spec leads to the primary or the canary.
func led(c *v1beta1.Canary, spec map[string]any) bool { return len(read(c, spec)) > 0 }

// read is what the routes to the primary or the canary do.
func read(c *v1beta1.Canary, spec map[string]any) []shares.Read {
	_, primary, canary := c.ServiceNames()
	routes, _ := spec["routes"].([]any)
	var out []shares.Read
	for _, one := range routes {
		route, _ := one.(map[string]any)
		services, _ := route["services"].([]any)
		var r shares.Read
		for _, s := range services {
			service, _ := s.(map[string]any)
			weight, _ := service["weight"].(int64)
			if mirror, _ := service["mirror"].(bool); mirror {
				if nameOf(s) == canary {
					r.Mirror = int32(min(max(weight, 0), 100))
				}
				continue
			}
			switch r.Total += weight; nameOf(s) {
			case primary:
				r.ToPrimary, r.Primary = true, r.Primary+weight
			case canary:
				r.ToCanary, r.Canary = true, r.Canary+weight
			}
		}
		if r.ToPrimary { // one to the canary alone is a user's
			out = append(out, r)
		}
	}
	return out
}
