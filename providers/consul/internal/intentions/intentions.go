// Package intentions knows who lets in whom by its name in Consul: released pods have another
// name than their application.
package intentions

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

// everybody is the source of an intention for all services.
const everybody = "*"

// Lets are the services that each entry of intentions lets in by their names. It is made when
// entries change, as there may be many.
type Lets struct {
	in map[string][]string // by the name of the entry
	to map[string][]string // the reverse, sorted
}

// Of reads entries of intentions.
func Of(all entries.Set) Lets {
	out := Lets{in: map[string][]string{}, to: map[string][]string{}}
	for k, e := range all {
		out.in[k.Name] = letIn(e)
		for _, source := range out.in[k.Name] {
			out.to[source] = append(out.to[source], k.Name)
		}
	}
	for _, names := range out.to {
		slices.Sort(names)
	}
	return out
}

// letIn are the services of this Consul that an entry of intentions lets in, for some requests at least. One
// that can't be read lets nobody in.
func letIn(e entries.Entry) (out []string) {
	of := api.ServiceIntentionsConfigEntry{}
	if e.Into(&of) != nil {
		return nil
	}
	for _, s := range of.Sources {
		if s != nil && s.Peer == "" && s.Action != api.IntentionActionDeny {
			out = append(out, cmp.Or(s.Name, everybody))
		}
	}
	return out
}

// ShutOut are the services that let the apex service in by its name and not its pods by theirs, each
// with the name that it lacks.
func (l Lets) ShutOut(n services.Names) (out [][2]string) {
	for _, to := range l.to[n.Apex] {
		sources := l.in[to]
		if to == n.Apex || slices.Contains(sources, everybody) {
			continue
		}
		for _, caller := range n.Callers() {
			if !slices.Contains(sources, caller) {
				out = append(out, [2]string{to, caller})
			}
		}
	}
	return out
}

// Uncovered tells of those services in words, empty for none.
func (l Lets) Uncovered(n services.Names) string {
	var out []string
	for _, of := range l.ShutOut(n) {
		out = append(out, fmt.Sprintf("Consul's %s %s: it lets in %s and not %s, as released pods are called", api.ServiceIntentions, of[0], n.Apex, of[1]))
	}
	return strings.Join(out, "; ")
}

// Concerned are keys for the services that changed intentions let in before they changed, or let in now.
func Concerned(changed []entries.Key, before, now Lets) (out []entries.Key) {
	for _, k := range changed {
		for _, source := range slices.Concat(before.in[k.Name], now.in[k.Name]) {
			out = append(out, entries.Key{Kind: k.Kind, Name: source})
		}
	}
	return out
}
