package rules

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Planned is a rule of the route, and what it was made from.
type Planned struct {
	gatewayv1.HTTPRouteRule

	// Origins are those matches of the rule that it was made from of which its own are parts.
	Origins []gatewayv1.HTTPRouteMatch
	// Source is the place of the user's rule that it was made from, or the number of his
	// rules for one of the spec's.
	Source int
	// step is its place among those that were made from the same rule.
	step int
	// added is true for one that has no place among the user's.
	added bool
	// Verbatim is true for a rule that is as its user wrote it.
	Verbatim bool
}

// AsWritten is a rule of a user's that stays as it is.
func AsWritten(rule gatewayv1.HTTPRouteRule, source int) Planned {
	return Planned{HTTPRouteRule: rule, Origins: orAny(rule.Matches), Source: source, Verbatim: true}
}

// orAny spells out that a rule without matches is for any request.
func orAny(ms matches) matches {
	if len(ms) == 0 {
		return matches{{Path: anyPath()}}
	}
	return ms
}

// pathRank orders kinds of conditions on a path; the least is preferred. Where regular
// expressions stand is up to the implementation.
func pathRank(m *gatewayv1.HTTPPathMatch) int {
	switch {
	case m == nil || m.Type == nil || *m.Type == gatewayv1.PathMatchPathPrefix:
		return 2
	case *m.Type == gatewayv1.PathMatchExact:
		return 0
	default:
		return 1
	}
}

func pathValue(m *gatewayv1.HTTPPathMatch) string {
	if m == nil || m.Value == nil {
		return "/"
	}
	return *m.Value
}

// SamePath tells whether two conditions on a path are the same.
func SamePath(a, b *gatewayv1.HTTPPathMatch) bool {
	return pathRank(a) == pathRank(b) && pathValue(a) == pathValue(b)
}

// Compare is negative where a proxy prefers a for requests that fit both, positive where it
// prefers b, and 0 where another thing decides, such as the order of rules. It is not
// known where paths are regular expressions: the Gateway API leaves that to the implementation.
func Compare(a, b gatewayv1.HTTPRouteMatch) (order int, known bool) {
	x, y := pathRank(a.Path), pathRank(b.Path)
	known = SamePath(a.Path, b.Path) || x != 1 && y != 1
	if x != y {
		return x - y, known
	}
	if n := len(pathValue(b.Path)) - len(pathValue(a.Path)); x == 2 && n != 0 {
		return n, known
	}
	for _, n := range []int{has(b.Method) - has(a.Method), headersIn(b) - headersIn(a), paramsIn(b) - paramsIn(a)} {
		if n != 0 {
			return n, known
		}
	}
	return 0, known
}

func has[T any](p *T) int {
	if p == nil {
		return 0
	}
	return 1
}

// headersIn counts the headers that a match has conditions on; of several on one the
// first counts.
func headersIn(m gatewayv1.HTTPRouteMatch) int {
	names := map[string]bool{}
	for _, h := range m.Headers {
		names[strings.ToLower(string(h.Name))] = true
	}
	return len(names)
}

func paramsIn(m gatewayv1.HTTPRouteMatch) int {
	names := map[string]bool{}
	for _, q := range m.QueryParams {
		names[string(q.Name)] = true
	}
	return len(names)
}

// Covers tells whether whatever fits part fits whole. It may say no where it can't tell.
func Covers(whole, part gatewayv1.HTTPRouteMatch) bool {
	path, possible, err := narrowPath(whole.Path, part.Path)
	if err != nil || !possible || !isAnyPath(whole.Path) && !SamePath(path, part.Path) {
		return false
	}
	if whole.Method != nil && (part.Method == nil || *part.Method != *whole.Method) {
		return false
	}
	for _, h := range whole.Headers {
		if !slices.ContainsFunc(part.Headers, func(p gatewayv1.HTTPHeaderMatch) bool {
			return strings.EqualFold(string(p.Name), string(h.Name)) && implies(condition(p.Type, p.Value), condition(h.Type, h.Value))
		}) {
			return false
		}
	}
	for _, q := range whole.QueryParams {
		if !slices.ContainsFunc(part.QueryParams, func(p gatewayv1.HTTPQueryParamMatch) bool {
			return p.Name == q.Name && implies(condition(p.Type, p.Value), condition(q.Type, q.Value))
		}) {
			return false
		}
	}
	return true
}

// implies tells whether a string that fits a fits b.
func implies(a, b text) bool {
	joined, possible, err := narrow("", a, b)
	return err == nil && possible && joined == a
}

// entry is one match of a planned rule.
type entry struct {
	match, origin gatewayv1.HTTPRouteMatch
	rule          int // whose backends and filters it has
	source, step  int
	guard, added  bool
	place         int // in the order in which they were made
}

// first tells whether a decides for requests that fit a and b, by what the matches that they
// are made from did, and among parts of one by the order in which they were made.
func first(a, b *entry) bool {
	if order, _ := Compare(a.origin, b.origin); order != 0 {
		return order < 0
	}
	if a.source != b.source {
		return a.source < b.source
	}
	if a.step != b.step {
		return a.step < b.step
	}
	return a.place < b.place
}

// listed tells whether a comes before b in the route. Guards come first.
func listed(a, b *entry) bool {
	switch {
	case a.guard != b.guard:
		return a.guard
	case a.guard:
		return first(a, b)
	default:
		return a.place < b.place
	}
}

// maxGuards bounds what is added to keep requests apart. A route may have 16 rules.
const maxGuards = 64

// guarded returns the rules with others before them, the guards, for requests that a rule
// would take from another one only because it has become more specific. A rule
// that was split has parts with more conditions, or a longer path, so that a proxy may prefer
// them to a rule for another service that it preferred to the whole. A guard is for what
// fits both, and leads where the latter leads.
func guarded(rules []Planned) ([]Planned, error) {
	var entries []*entry
	for i := range rules {
		for j, match := range orAny(rules[i].Matches) {
			entries = append(entries, &entry{
				match: match, origin: rules[i].Origins[j], rule: i, source: rules[i].Source, step: rules[i].step,
				added: rules[i].added, place: len(entries),
			})
		}
	}
	own := len(entries)
	for again := true; again; {
		again = false
		for _, a := range slices.Clone(entries) {
			for _, b := range slices.Clone(entries) {
				guard, err := guardOf(a, b, entries)
				if err != nil {
					return nil, err
				}
				if guard != nil {
					entries, again = append(entries, guard), true
				}
			}
		}
		if len(entries)-own > maxGuards {
			return nil, fmt.Errorf("there are more than %d combinations with rules that lead elsewhere", maxGuards)
		}
	}
	return append(guards(entries[own:], rules), rules...), nil
}

// guardOf is what keeps the requests that fit a and b with a, nil where nothing is needed.
func guardOf(a, b *entry, all []*entry) (*entry, error) {
	if a.rule == b.rule || !first(a, b) {
		return nil, nil //nolint:nilnil // there is none
	}
	order, known := Compare(a.match, b.match)
	_, knew := Compare(a.origin, b.origin)
	kept := order < 0 || order == 0 && listed(a, b)
	if !known || !knew {
		return nil, undecided(a, b, kept)
	}
	if kept {
		return nil, nil //nolint:nilnil // there is none
	}
	match, possible, err := Intersect(a.match, b.match)
	if err != nil || !possible {
		return nil, err
	}
	guard := &entry{match: match, origin: a.origin, rule: a.rule, source: a.source, step: a.step, guard: true, added: a.added, place: len(all)}
	if decided(a, b, match, all) {
		return nil, nil //nolint:nilnil // there is no need
	}
	return guard, nil
}

// decided tells whether another entry than a and b decides for all requests of a match already, or
// keeps them with a.
func decided(a, b *entry, match gatewayv1.HTTPRouteMatch, all []*entry) bool {
	return slices.ContainsFunc(all, func(e *entry) bool {
		if e == a || e == b || !Covers(e.match, match) {
			return false
		}
		if e.rule != a.rule {
			return first(e, a)
		}
		order, known := Compare(e.match, b.match)
		return known && (order < 0 || order == 0 && listed(e, b))
	})
}

// undecided is an error where a split may change which of two matches a proxy prefers, and
// nobody can tell which one it was. Kept is true where, for a proxy that prefers no regular expression to
// another, the conditions beside the paths still decide for a.
func undecided(a, b *entry, kept bool) error {
	if kept && !a.added && !b.added && SamePath(a.match.Path, a.origin.Path) && SamePath(b.match.Path, b.origin.Path) {
		return nil // it is what it was
	}
	_, possible, err := Intersect(a.match, b.match)
	if err == nil && possible {
		err = &cannotJoinError{"uri"}
	}
	return err
}

// guards makes rules of entries.
func guards(entries []*entry, rules []Planned) []Planned {
	slices.SortFunc(entries, func(a, b *entry) int {
		if first(a, b) {
			return -1
		}
		return 1
	})
	var out []Planned
	for i, e := range entries {
		if i > 0 && entries[i-1].rule == e.rule {
			last := &out[len(out)-1]
			last.Matches, last.Origins = append(last.Matches, e.match), append(last.Origins, e.origin)
			continue
		}
		rule := Planned{HTTPRouteRule: *rules[e.rule].DeepCopy(), Source: e.source, step: e.step}
		rule.Name, rule.Matches, rule.Origins = nil, matches{e.match}, matches{e.origin} // names are unique
		out = append(out, rule)
	}
	return out
}

// rewriting returns the rule, or several where it replaces a prefix: the prefix is that of the
// match, of which such a rule has one, and a part with a longer path keeps the rest of it.
func (p Planned) rewriting() ([]Planned, error) {
	if p.Verbatim || !slices.ContainsFunc(modifiers(&p.HTTPRouteRule), replacesPrefix) {
		return []Planned{p}, nil
	}
	var out []Planned
	for i, match := range p.Matches {
		one := p
		one.HTTPRouteRule = *p.DeepCopy()
		one.Matches, one.Origins = matches{match}, matches{p.Origins[i]}
		if i > 0 {
			one.Name = nil
		}
		for _, m := range modifiers(&one.HTTPRouteRule) {
			if !replacesPrefix(m) || SamePath(match.Path, p.Origins[i].Path) {
				continue
			}
			if err := replaceRest(m, pathValue(p.Origins[i].Path), match.Path); err != nil {
				return nil, err
			}
		}
		out = append(out, one)
	}
	return out, nil
}

func replacesPrefix(m *gatewayv1.HTTPPathModifier) bool {
	return m != nil && m.Type == gatewayv1.PrefixMatchHTTPPathModifier && m.ReplacePrefixMatch != nil
}

// modifiers are what a rule does to paths.
func modifiers(rule *gatewayv1.HTTPRouteRule) (out []*gatewayv1.HTTPPathModifier) {
	filters := [][]gatewayv1.HTTPRouteFilter{rule.Filters}
	for i := range rule.BackendRefs {
		filters = append(filters, rule.BackendRefs[i].Filters)
	}
	for _, list := range filters {
		for _, f := range list {
			if f.URLRewrite != nil {
				out = append(out, f.URLRewrite.Path)
			}
			if f.RequestRedirect != nil {
				out = append(out, f.RequestRedirect.Path)
			}
		}
	}
	return out
}

// replaceRest has a modifier that replaces a prefix do the same for a path below it.
func replaceRest(m *gatewayv1.HTTPPathModifier, prefix string, path *gatewayv1.HTTPPathMatch) error {
	remaining := strings.TrimPrefix(pathValue(path), strings.TrimSuffix(prefix, "/"))
	replaced := strings.TrimSuffix(*m.ReplacePrefixMatch, "/") + remaining
	if replaced == "" {
		replaced = "/"
	}
	switch pathRank(path) {
	case 0:
		m.Type, m.ReplacePrefixMatch, m.ReplaceFullPath = gatewayv1.FullPathHTTPPathModifier, nil, &replaced
	case 2:
		m.ReplacePrefixMatch = &replaced
	default:
		return fmt.Errorf("the rule replaces the prefix %s, of which a regex says nothing", prefix)
	}
	return nil
}
