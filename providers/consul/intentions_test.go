package consul

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

// TestIntentionsThatComeLater do not take the route back. They are told, and when they go, too.
func TestIntentionsThatComeLater(t *testing.T) {
	b := start(t, newMemory("podinfo-primary"))
	route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0), PodAnnotations: consultest.Aliased()}
	b.settle(t, route)
	consultest.Must(t, b.Apply(t.Context(), route))
	b.inSync(t, route)
	b.drain(t)
	database := entries.Key{Kind: api.ServiceIntentions, Name: "database"}
	for _, step := range []struct {
		change func()
		want   string
	}{
		{func() {
			e := consultest.Having(t, api.ServiceIntentions+` database {"Sources":[{"Name":"podinfo","Action":"allow"}]}`)[database]
			e.Index = b.m.index + 1
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
		consultest.Must(t, b.Apply(t.Context(), route))
		b.drain(t)
	}
}
