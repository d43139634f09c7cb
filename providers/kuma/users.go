package kuma

import (
	"fmt"
	"maps"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/requests"
)

// users is the spec of a user's TrafficRoute: what leads to the apex Service is divided in its place, with what is done to
// those requests beside it, and all else is as it was.
func users(c *v1beta1.Canary, name string, original map[string]any, t providers.Traffic) (map[string]any, error) {
	out := maps.Clone(original)
	if !fromAll(original) {
		return nil, &providers.InvalidError{
			Field: "TrafficRoute " + name + ": spec.sources", Value: fmt.Sprint(original["sources"]),
			Allowed: tag + ": '*', as the requests of all clients are shared out",
		}
	}
	had, _ := original["conf"].(map[string]any)
	conf := maps.Clone(had)
	if conf == nil {
		conf = map[string]any{}
	}
	matched, err := matches(c, t)
	if err != nil {
		return nil, err
	}
	u := usersConf{canary: c, name: name, traffic: t, matched: matched}
	http, err := u.http(had)
	if err != nil {
		return nil, err
	}
	leads, err := u.leads("spec.conf", had)
	if err != nil {
		return nil, err
	}
	if leads {
		more, rest, err := u.shared(map[string]any{}, conf)
		if err != nil {
			return nil, err
		}
		http, conf = append(http, more...), rest
	}
	if !leads && !u.found {
		return nil, &providers.InvalidError{
			Field: "TrafficRoute " + name + ": spec.conf", Allowed: "a destination " + serviceTag(c, apexOf(c)) + ", or no such TrafficRoute: it has all requests for that Service led elsewhere",
		}
	}
	if len(http) > 0 {
		conf["http"] = http
	}
	out["conf"] = conf
	return out, nil
}

// usersConf divides what a user's TrafficRoute leads to the apex Service.
type usersConf struct {
	canary  *v1beta1.Canary
	name    string
	traffic providers.Traffic
	matched []map[string]any
	// found says that requests of some kind are led there.
	found bool
}

// http are the entries for requests of some kind. The first that fits decides.
func (u *usersConf) http(conf map[string]any) ([]any, error) {
	had, _ := conf["http"].([]any)
	var out []any
	for i, one := range had {
		entry, _ := one.(map[string]any)
		leads, err := u.leads(fmt.Sprintf("spec.conf.http[%d]", i), entry)
		if err != nil {
			return nil, err
		}
		if !leads {
			out = append(out, one)
			continue
		}
		u.found = true
		match, _ := entry["match"].(map[string]any)
		more, rest, err := u.shared(match, entry)
		if err != nil {
			return nil, err
		}
		out = append(append(out, more...), rest)
	}
	return out, nil
}

// shared divides the requests of an entry: more come before it, for those of its requests that spec.analysis.match names.
func (u *usersConf) shared(match, entry map[string]any) (more []any, rest map[string]any, err error) {
	rest = maps.Clone(entry)
	delete(rest, "destination")
	for i, m := range u.matched {
		both, ok := joined(match, m)
		if !ok {
			return nil, nil, unsupported(fmt.Sprintf("spec.analysis.match[%d]", i),
				"TrafficRoute "+u.name+" has conditions on the same path or header already, and both can't be said; leave one of them out")
		}
		narrow := map[string]any{"match": both, "split": split(u.canary, u.traffic.Primary, u.traffic.Canary)}
		if modify, ok := entry["modify"]; ok {
			narrow["modify"] = modify
		}
		more = append(more, narrow)
	}
	rest["split"] = split(u.canary, u.traffic.Primary, u.traffic.Canary)
	if u.traffic.Matched {
		rest["split"] = split(u.canary, 100, 0)
	}
	return more, rest, nil
}

// leads tells whether an entry leads to the apex Service, and refuses one that leads elsewhere too, or to some of its pods.
func (u *usersConf) leads(field string, entry map[string]any) (bool, error) {
	var all []any
	if one, ok := entry["destination"]; ok {
		all = append(all, one)
	}
	list, _ := entry["split"].([]any)
	for _, part := range list {
		p, _ := part.(map[string]any)
		all = append(all, p["destination"])
	}
	apex := serviceTag(u.canary, apexOf(u.canary))
	toApex := 0
	for _, one := range all {
		destination, _ := one.(map[string]any)
		if destination[tag] != apex {
			continue
		}
		if toApex++; len(destination) > 1 {
			return false, &providers.InvalidError{
				Field: "TrafficRoute " + u.name + ": " + field, Value: fmt.Sprint(destination),
				Allowed: tag + " alone, as the pods of a release need not have the other tags",
			}
		}
	}
	if toApex > 0 && toApex < len(all) {
		return false, &providers.InvalidError{
			Field: "TrafficRoute " + u.name + ": " + field, Value: apex, Allowed: apex + " alone, as its requests are shared out between the primary and the canary",
		}
	}
	return toApex > 0, nil
}

// joined are the conditions of both, false where they can't be said in one.
func joined(a, b map[string]any) (map[string]any, bool) {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]any{}
	}
	if path, ok := b["path"]; ok {
		if _, both := a["path"]; both {
			return nil, false
		}
		out["path"] = path
	}
	more, _ := b["headers"].(map[string]any)
	if len(more) == 0 {
		return out, true
	}
	had, _ := a["headers"].(map[string]any)
	headers := maps.Clone(had)
	if headers == nil {
		headers = map[string]any{}
	}
	for name, value := range more {
		if _, both := headers[name]; both {
			return nil, false
		}
		headers[name] = value
	}
	out["headers"] = headers
	return out, true
}

// matches are the requests that spec.analysis.match names, none where all are shared out alike.
func matches(c *v1beta1.Canary, t providers.Traffic) ([]map[string]any, error) {
	if !t.Matched {
		return nil, nil
	}
	matched, err := requests.Read(v1beta1.ProviderKuma, "spec.analysis.match", c.GetAnalysis().Match)
	if err != nil {
		return nil, err
	}
	var out []map[string]any
	for _, m := range matched {
		if len(m.Params) > 0 {
			return nil, unsupported(m.Field+".queryParams", "a TrafficRoute tells requests apart by path and headers")
		}
		match := map[string]any{}
		if m.Path != nil {
			match["path"] = matcher(*m.Path)
		}
		headers := map[string]any{}
		for _, h := range m.Headers {
			headers[h.Name] = matcher(h.Value)
		}
		if len(headers) > 0 {
			match["headers"] = headers
		}
		out = append(out, match)
	}
	return out, nil
}

// fromAll tells whether a TrafficRoute is for the requests of all clients.
func fromAll(spec map[string]any) bool {
	sources, _ := spec["sources"].([]any)
	for _, one := range sources {
		s, _ := one.(map[string]any)
		match, _ := s["match"].(map[string]any)
		if len(match) == 1 && match[tag] == "*" {
			return true
		}
	}
	return false
}
