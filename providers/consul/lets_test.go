package consul

import (
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers"
)

// TestShutOut finds who lets in the application by its name, and its released pods not.
func TestShutOut(t *testing.T) {
	for name, tc := range map[string]struct {
		sources string
		named   map[string]string // annotations of the pods
		want    string            // what it lacks
	}{
		"the old name alone":           {sources: `[{"Name":"podinfo","Action":"allow"}]`, named: aliased, want: "podinfo-primary"},
		"both":                         {sources: `[{"Name":"podinfo","Action":"allow"},{"Name":"podinfo-primary","Action":"allow"}]`, named: aliased},
		"everybody":                    {sources: `[{"Name":"podinfo","Action":"allow"},{"Name":"*","Action":"allow"}]`, named: aliased},
		"it is denied":                 {sources: `[{"Name":"podinfo","Action":"deny"}]`, named: aliased},
		"some of its requests":         {sources: `[{"Name":"podinfo","Permissions":[{"Action":"allow"}]}]`, named: aliased, want: "podinfo-primary"},
		"that of another Consul":       {sources: `[{"Name":"podinfo","Peer":"west","Action":"allow"}]`, named: aliased},
		"others":                       {sources: `[{"Name":"web","Action":"allow"}]`, named: aliased},
		"pods that have the canary's":  {sources: `[{"Name":"podinfo","Action":"allow"},{"Name":"podinfo-primary","Action":"allow"}]`, want: "podinfo-canary"},
		"what is no entry of its kind": {sources: `"podinfo"`, named: aliased},
		"one that is empty":            {sources: `[]`, named: aliased},
		"by permissions and everybody": {sources: `[{"Name":"podinfo","Permissions":[{"Action":"allow"}]},{"Action":"allow"}]`, named: aliased},
	} {
		t.Run(name, func(t *testing.T) {
			got := letsOf(having(t, intentions+` database {"Sources":`+tc.sources+`}`)).uncovered(namesOf(canary(), tc.named, scope{}))
			if tc.want == "" && got != "" || tc.want != "" && !(strings.Contains(got, "database") && strings.Contains(got, "not "+tc.want+",")) {
				t.Errorf("%q", got)
			}
		})
	}
	own := letsOf(having(t, intentions+` podinfo {"Sources":[{"Name":"podinfo","Action":"allow"}]}`))
	diff(t, "", own.uncovered(namesOf(canary(), aliased, scope{})))
}

// TestIntentionsThatComeLater do not take the route back. They are told, and when they go, too.
func TestIntentionsThatComeLater(t *testing.T) {
	b := start(t, newMemory("podinfo-primary"))
	route := providers.Route{Canary: canary(), Traffic: weights(0), PodAnnotations: aliased}
	b.settle(t, route)
	must(t, b.Apply(t.Context(), route))
	b.inSync(t, route)
	b.drain(t)
	database := key{api.ServiceIntentions, "database"}
	for _, step := range []struct {
		change func()
		want   string
	}{
		{func() {
			e := having(t, intentions+` database {"Sources":[{"Name":"podinfo","Action":"allow"}]}`)[database]
			e.index = b.m.index + 1
			b.m.has[database] = e
		}, "Consul's service-intentions database: it lets in podinfo and not podinfo-primary, as released pods are called"},
		{func() { delete(b.m.has, database) }, ""},
	} {
		b.m.set(step.change)
		b.event(t)
		state, err := b.Observe(t.Context(), route)
		if err != nil || !state.InSync || state.Uncovered != step.want {
			t.Errorf("%+v, %v, want %q", state, err, step.want)
		}
		must(t, b.Apply(t.Context(), route))
		b.drain(t)
	}
}
