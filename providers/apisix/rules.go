package apisix

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/requests"
)

const (
	// highest is the priority of our rules, as with Flagger, unless the user's have it too or come before the one that is shared out.
	highest = 10000
	// defaultWeight is that of a backend without one.
	defaultWeight = 100
)

func unsupported(field, why string) error {
	return &providers.UnsupportedError{Router: v1beta1.ProviderAPISIX, Field: field, Why: why}
}

// rulesFor are the user's rules that lead to the apex Service, with the primary and the canary behind them.
func rulesFor(c *v1beta1.Canary, users *ApisixRoute, t providers.Traffic) ([]any, error) {
	apex, _, _ := c.ServiceNames()
	matched, err := requests.Read(v1beta1.ProviderAPISIX, "spec.analysis.match", c.GetAnalysis().Match)
	if err != nil {
		return nil, err
	}
	var out []any
	all := rulesOf(users.Spec)
	for i, rule := range all {
		if !slices.Contains(backends(rule), apex) {
			continue
		}
		field := fmt.Sprintf("ApisixRoute %s: spec.http[%d]", users.Name, i)
		if list, _ := rule["backends"].([]any); len(list) != 1 || rule["upstreams"] != nil {
			return nil, &providers.InvalidError{
				Field: field + ".backends", Value: apex, Allowed: "Service " + apex + " alone, as its requests are shared out between the primary and the canary",
			}
		}
		priority, err := priorityOf(all, i, apex, t.Matched)
		if err != nil {
			return nil, &providers.InvalidError{Field: field + ".priority", Value: strconv.FormatInt(priorityIn(rule), 10), Allowed: err.Error()}
		}
		shared, err := share(c, rule, field, priority, matched, t)
		if err != nil {
			return nil, err
		}
		out = append(out, shared...)
	}
	if len(out) == 0 {
		return nil, &providers.InvalidError{
			Field: "spec.routeRef.name", Value: users.Name, Allowed: "an ApisixRoute of which a rule in spec.http leads to Service " + apex + ", the Canary's apex",
		}
	}
	return out, nil
}

// priorityOf is that of our rule in the place of one of the user's: before that one, and after those of his that come before it by
// the same path. Where all of these lead to the apex Service ours come before all of his.
func priorityOf(all []map[string]any, i int, apex string, matched bool) (int64, error) {
	own := priorityIn(all[i])
	next, below, elsewhere := int64(math.MaxInt64), map[int64]bool{}, false
	for j, other := range all {
		p := priorityIn(other)
		switch {
		case j == i || !samePath(all[i], other):
		case p > own:
			next, elsewhere = min(next, p), elsewhere || !slices.Contains(backends(other), apex)
		case p < own:
			below[p] = true
		}
	}
	if !elsewhere {
		return max(highest, own+1) + 2*int64(len(below)), nil // a rule for what matches is between two of them
	}
	needed := int64(1)
	if matched {
		needed = 2
	}
	if own+needed >= next {
		return 0, fmt.Errorf("%d or less, as rules of ours come between it and the rule with %d for the same path", next-needed-1, next)
	}
	return own + 1, nil
}

func priorityIn(rule map[string]any) int64 {
	p, _ := rule["priority"].(int64)
	return p
}

// samePath tells whether two rules have a path in common. By those of different paths it is the longer one that counts, whatever their
// priorities.
func samePath(a, b map[string]any) bool {
	paths := func(rule map[string]any) []any {
		match, _ := rule["match"].(map[string]any)
		list, _ := match["paths"].([]any)
		return list
	}
	return slices.ContainsFunc(paths(a), func(p any) bool { return slices.Contains(paths(b), p) })
}

// share divides the requests of a rule by the traffic, by rules with a priority. What matches has a rule of its own that comes first.
func share(c *v1beta1.Canary, rule map[string]any, field string, priority int64, matched []requests.Match, t providers.Traffic) ([]any, error) {
	base := maps.Clone(rule)
	base["priority"] = priority
	var out []any
	if t.Matched {
		name, _ := rule["name"].(string)
		for i, m := range matched {
			narrow, err := narrowed(base, field, m)
			if err != nil {
				return nil, err
			}
			narrow["name"], narrow["priority"] = fmt.Sprintf("%s-match-%d", name, i), priority+1
			narrow["backends"] = shared(c, rule, t.Primary, t.Canary)
			out = append(out, narrow)
		}
		base["backends"] = shared(c, rule, 100, -1)
		return append(out, base), nil
	}
	base["backends"] = shared(c, rule, t.Primary, t.Canary)
	return append(out, base), nil
}

// shared are the backends of a rule; a negative weight leaves one out.
func shared(c *v1beta1.Canary, rule map[string]any, toPrimary, toCanary int32) []any {
	_, primary, canary := c.ServiceNames()
	users, _ := rule["backends"].([]any)
	template, _ := users[0].(map[string]any)
	var out []any
	for _, side := range []struct {
		name   string
		weight int32
	}{{primary, toPrimary}, {canary, toCanary}} {
		if side.weight < 0 {
			continue
		}
		backend := maps.Clone(template)
		backend["serviceName"], backend["weight"] = side.name, int64(side.weight)
		out = append(out, backend)
	}
	return out
}

// narrowed is a rule for those of its requests that fit m as well.
func narrowed(rule map[string]any, field string, m requests.Match) (map[string]any, error) {
	match, _ := rule["match"].(map[string]any)
	if match["filter_func"] != nil {
		return nil, unsupported("spec.analysis.match", field+" has a filter_func, beside which there are no other conditions")
	}
	had, _ := match["exprs"].([]any)
	exprs := slices.Clone(had)
	if m.Path != nil {
		exprs = append(exprs, expression("Path", "uri", *m.Path))
	}
	for _, h := range m.Headers {
		exprs = append(exprs, expression("Header", h.Name, h.Value))
	}
	for _, q := range m.Params {
		exprs = append(exprs, expression("Query", q.Name, q.Value))
	}
	out, more := maps.Clone(rule), maps.Clone(match)
	if more == nil {
		more = map[string]any{}
	}
	more["exprs"], out["match"] = exprs, more
	return out, nil
}

func expression(scope, name string, v requests.Value) map[string]any {
	out := map[string]any{"subject": map[string]any{"scope": scope, "name": name}}
	if v.Exact != "" {
		out["op"], out["value"] = "Equal", v.Exact
	} else {
		out["op"], out["value"] = "RegexMatch", "^(?:"+v.Expression()+")$"
	}
	return out
}

// rulesOf are the rules for HTTP of a spec.
func rulesOf(spec map[string]any) (out []map[string]any) {
	list, _ := spec["http"].([]any)
	for _, one := range list {
		rule, _ := one.(map[string]any)
		out = append(out, rule)
	}
	return out
}

// backends are the names of the Services that a rule leads to.
func backends(rule map[string]any) (out []string) {
	list, _ := rule["backends"].([]any)
	for _, one := range list {
		backend, _ := one.(map[string]any)
		if name, ok := backend["serviceName"].(string); ok {
			out = append(out, name)
		}
	}
	return out
}
