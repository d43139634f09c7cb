package istio

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/istiotest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// stopping is an API server at one of whose writes the router is stopped, before it is done or after it.
type stopping struct {
	client.Client
	live  client.Reader
	at    int // which write, from 1; 0 for none
	after bool
	n     int
}

var errStopped = errors.New("stopped")

func (s *stopping) write(do func() error) error {
	s.n++
	if s.n != s.at {
		return do()
	}
	if s.after {
		if err := do(); err != nil {
			return err
		}
	}
	return errStopped
}

func (s *stopping) Apply(ctx context.Context, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	return s.write(func() error { return s.Client.Apply(ctx, o, opts...) })
}

func (s *stopping) Patch(ctx context.Context, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	return s.write(func() error { return s.Client.Patch(ctx, o, p, opts...) })
}

func (s *stopping) Update(ctx context.Context, o client.Object, opts ...client.UpdateOption) error {
	return s.write(func() error { return s.Client.Update(ctx, o, opts...) })
}

func (s *stopping) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	return s.write(func() error { return s.Client.Delete(ctx, o, opts...) })
}

// objects are all that Istio has, as JSON without what the API server counts.
func (s *stopping) objects(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	add := func(kind string, o client.Object, spec any) {
		raw, err := json.Marshal([]any{spec, o.GetLabels(), o.GetAnnotations()})
		if err != nil {
			t.Fatal(err)
		}
		out[kind+" "+o.GetName()] = string(raw)
	}
	var services networkingv1.VirtualServiceList
	var rules networkingv1.DestinationRuleList
	for _, list := range []client.ObjectList{&services, &rules} {
		if err := s.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range services.Items {
		add("VirtualService", o, &o.Spec)
	}
	for _, o := range rules.Items {
		add("DestinationRule", o, &o.Spec)
	}
	return out
}

// TestStoppedAtEachWrite stops the router before and after each write of a release, and another one goes on with what there
// is: it sees the traffic of the step before or of this one, and in the end Istio has what it has else.
func TestStoppedAtEachWrite(t *testing.T) {
	users := func() client.Object {
		return istiotest.VirtualService(t, "podinfo", `{hosts: [podinfo.example.com], http: [{name: mine, route: [{destination: {host: podinfo}}]}]}`)
	}
	weights := func(weight int32) providers.Traffic { return providers.Traffic{Primary: 100 - weight, Canary: weight} }
	matched := istiotest.Canary()
	matched.Spec.Analysis.Match = []v1beta1.RawObject{*istiotest.Raw(`{"headers":{"x":{"exact":"y"}}}`)}
	for name, tc := range map[string]struct {
		canary *v1beta1.Canary
		steps  []providers.Traffic
		there  []client.Object
	}{
		"weights":        {istiotest.Canary(), []providers.Traffic{weights(0), weights(20), weights(60), weights(0)}, nil},
		"blue/green":     {istiotest.Canary(), []providers.Traffic{weights(0), weights(100), weights(0)}, nil},
		"mirror":         {istiotest.Canary(istiotest.WithPolicy), []providers.Traffic{weights(0), {Primary: 100, Mirror: 50}, weights(50), weights(0)}, nil},
		"matches":        {matched, []providers.Traffic{weights(0), {Canary: 100, Matched: true}, weights(0)}, nil},
		"a user's route": {istiotest.Canary(), []providers.Traffic{weights(0), weights(20), weights(0)}, []client.Object{users()}},
	} {
		t.Run(name, func(t *testing.T) {
			var undisturbed []map[string]string
			last := 0
			for at := 0; at <= last; at++ {
				for _, after := range []bool{false, true} {
					w := newWorld(t, copies(tc.there)...)
					s := &stopping{Client: w.Client, live: w.live, at: at, after: after}
					got := s.release(t, tc.canary, tc.steps)
					if at == 0 {
						undisturbed, last = got, s.n
						continue
					}
					if s.n < at {
						t.Fatalf("there is no write %d", at)
					}
					for i := range undisturbed {
						if !maps.Equal(undisturbed[i], got[i]) {
							t.Errorf("stopped at write %d (done: %v), step %d ends with\n%v\nand else with\n%v", at, after, i, got[i], undisturbed[i])
						}
					}
				}
			}
			t.Logf("%d writes", last)
		})
	}
}

func copies(all []client.Object) (out []client.Object) {
	for _, o := range all {
		out = append(out, o.DeepCopyObject().(client.Object)) //nolint:forcetypeassert // a copy is of the same type
	}
	return out
}

// release goes by steps and back, and gives what Istio has after each.
func (s *stopping) release(t *testing.T, c *v1beta1.Canary, steps []providers.Traffic) (after []map[string]string) {
	t.Helper()
	before := steps[0]
	for i := range len(steps) + 1 {
		route := providers.Route{Canary: c, Traffic: steps[min(i, len(steps)-1)]}
		router := New(Config{Client: s, Live: s.live, Applier: ssa.New(s)})
		for try := 0; ; try++ {
			var err error
			if i < len(steps) {
				err = router.Apply(t.Context(), route)
			} else {
				err = router.Release(t.Context(), route)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, errStopped) || try > 1 {
				t.Fatal(err)
			}
			router = New(Config{Client: s, Live: s.live, Applier: ssa.New(s)})
			if state, err := router.Observe(t.Context(), route); err != nil || state.Exists && state.Traffic != before && state.Traffic != route.Traffic {
				t.Errorf("between %+v and %+v there is %+v, %v", before, route.Traffic, state, err)
			}
		}
		before = route.Traffic
		after = append(after, s.objects(t))
	}
	return after
}
