package consul

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// everybody is the source of an intention for all services.
const everybody = "*"

// lets are the services that each entry of intentions lets in by their names. It is made when
// entries change, as there may be many.
type lets struct {
	in map[string][]string // by the name of the entry
	to map[string][]string // the reverse, sorted
}

func letsOf(all entries) lets {
	out := lets{in: map[string][]string{}, to: map[string][]string{}}
	for k, e := range all {
		out.in[k.name] = letIn(e)
		for _, source := range out.in[k.name] {
			out.to[source] = append(out.to[source], k.name)
		}
	}
	for _, names := range out.to {
		slices.Sort(names)
	}
	return out
}

// letIn are the services of this Consul that an entry of intentions lets in, for some requests at least. One
// that can't be read lets nobody in.
func letIn(e entry) (out []string) {
	of := api.ServiceIntentionsConfigEntry{}
	if e.into(&of) != nil {
		return nil
	}
	for _, s := range of.Sources {
		if s != nil && s.Peer == "" && s.Action != api.IntentionActionDeny {
			out = append(out, cmp.Or(s.Name, everybody))
		}
	}
	return out
}

// names are those by which released pods call others, and those of the canary where these are not
// instances of the apex service.
func (n names) callers() []string {
	if n.aliased {
		return []string{n.primary}
	}
	return []string{n.primary, n.canary}
}

// shutOut are the services that let the apex service in by its name and not its pods by theirs, each
// with the name that it lacks.
func (l lets) shutOut(n names) (out [][2]string) {
	for _, to := range l.to[n.apex] {
		sources := l.in[to]
		if to == n.apex || slices.Contains(sources, everybody) {
			continue
		}
		for _, caller := range n.callers() {
			if !slices.Contains(sources, caller) {
				out = append(out, [2]string{to, caller})
			}
		}
	}
	return out
}

// uncovered tells of them, empty for none.
func (l lets) uncovered(n names) string {
	var out []string
	for _, of := range l.shutOut(n) {
		out = append(out, fmt.Sprintf("Consul's %s %s: it lets in %s and not %s, as released pods are called", api.ServiceIntentions, of[0], n.apex, of[1]))
	}
	return strings.Join(out, "; ")
}
