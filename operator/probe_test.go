package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// records are all states of what decides where requests go, in all namespaces. They come
// from watches, so that the shortest state is among them, and no look costs a request.
type records struct {
	api client.WithWatch

	mu          sync.Mutex
	byNamespace map[string][]record
}

// record is one state of an object.
type record struct {
	at      time.Time
	version int // of the whole cluster: what was written later has a higher one
	object  client.Object
	gone    bool
}

func (r record) String() string {
	kind := strings.TrimPrefix(fmt.Sprintf("%T", r.object), "*")
	if r.gone {
		return fmt.Sprintf("%s %s was removed", kind, r.object.GetName())
	}
	return fmt.Sprintf("%s %s at %s", kind, r.object.GetName(), r.at.Format("05.000"))
}

// recorded are the kinds of which there are records.
var recorded = []func() client.ObjectList{
	func() client.ObjectList { return &istionetworking.VirtualServiceList{} },
	func() client.ObjectList { return &discoveryv1.EndpointSliceList{} },
	func() client.ObjectList { return &v1beta1.CanaryList{} },
	func() client.ObjectList { return &appsv1.DeploymentList{} },
}

func keepRecords(t *testing.T, api client.WithWatch) *records {
	t.Helper()
	r := &records{api: api, byNamespace: map[string][]record{}}
	for _, list := range recorded {
		w, err := api.Watch(t.Context(), list())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		go func() {
			for e := range w.ResultChan() {
				if o, ok := e.Object.(client.Object); ok {
					r.add(record{at: time.Now(), version: order(o), object: o, gone: e.Type == apiwatch.Deleted})
				}
			}
		}()
	}
	return r
}

func (r *records) add(x record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	namespace := x.object.GetNamespace()
	r.byNamespace[namespace] = append(r.byNamespace[namespace], x)
}

// of are the records of a namespace in the order in which they were written. The
// watches bring the kinds apart from each other.
func (r *records) of(namespace string) []record {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortStableFunc(r.byNamespace[namespace], func(a, b record) int { return a.version - b.version })
	return slices.Clone(r.byNamespace[namespace])
}

// now is the version of the cluster, when everything of the namespace up to it is among
// the records.
func (r *records) now(ctx context.Context, namespace string) (int, error) {
	version := 0
	return version, rig.Await(ctx, "the watches", stageLimit, func(ctx context.Context) error {
		seen := map[string]int{}
		for _, x := range r.of(namespace) {
			if !x.gone {
				seen[keyOf(x.object)] = x.version
			}
		}
		for _, list := range recorded {
			items := list()
			if err := r.api.List(ctx, items, client.InNamespace(namespace)); err != nil {
				return err
			}
			v, err := strconv.Atoi(items.GetResourceVersion())
			if err != nil {
				return err
			}
			version = v
			objects, err := itemsOf(items)
			if err != nil {
				return err
			}
			for _, o := range objects {
				if seen[keyOf(o)] < order(o) {
					return fmt.Errorf("%s is behind", keyOf(o))
				}
			}
		}
		return nil
	})
}

func keyOf(o client.Object) string { return fmt.Sprintf("%T %s", o, o.GetName()) }

// probe tells what became of the requests to an apex Service from a moment on.
type probe struct {
	site *site
	apex string
	from int
}

// probe begins to look at the requests to an apex Service.
func (s *site) probe(apex string) *probe {
	s.t.Helper()
	from, err := s.records.now(s.t.Context(), s.namespace)
	if err != nil {
		s.t.Fatal(err)
	}
	return &probe{site: s, apex: apex, from: from}
}

// moment is how requests went from one change until the next.
type moment struct {
	at     time.Time
	lasted time.Duration
	// canary is the share, in percent, of the requests without condition that go to the canary;
	// matched that of those that match, 0 where there is no such rule.
	canary, matched int32
	// lost is the share of the requests without condition, or of those that match if that
	// is more, that finds nobody.
	lost int32
	// atCanary and atPrimary are how many pods answer there.
	atCanary, atPrimary int
	phase               v1beta1.CanaryPhase
	// by is the object whose change began the moment.
	by string
	// primary is the Deployment of the primary; nil where there is none.
	primary *appsv1.Deployment
}

func (m moment) String() string {
	out := fmt.Sprintf("%s for %s: %s, %d%% to %d canary pods, the rest to %d others", m.at.Format("05.000"), m.lasted.Round(time.Millisecond), m.phase, m.canary, m.atCanary, m.atPrimary)
	if m.matched > 0 {
		out += fmt.Sprintf(", of those that match %d%%", m.matched)
	}
	if m.lost > 0 {
		out += fmt.Sprintf(", %d%% LOST", m.lost)
	}
	return out + ", since " + m.by
}

// mesh is where requests go.
type mesh struct {
	routes     map[string]*istionetworking.VirtualService
	slices     map[string]*discoveryv1.EndpointSlice
	canaries   map[string]*v1beta1.Canary
	workloads  map[string]*appsv1.Deployment
	apex, name string
}

func set[T client.Object](m map[string]T, o T, gone bool) {
	if gone {
		delete(m, o.GetName())
	} else {
		m[o.GetName()] = o
	}
}

func (m *mesh) take(x record) {
	switch o := x.object.(type) {
	case *istionetworking.VirtualService:
		set(m.routes, o, x.gone)
	case *discoveryv1.EndpointSlice:
		set(m.slices, o, x.gone)
	case *v1beta1.Canary:
		set(m.canaries, o, x.gone)
	case *appsv1.Deployment:
		set(m.workloads, o, x.gone)
	}
}

// endpoints is how many pods answer for a Service.
func (m *mesh) endpoints(service string) (n int) {
	for _, s := range m.slices {
		if s.Labels[discoveryv1.LabelServiceName] != service {
			continue
		}
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				n++
			}
		}
	}
	return n
}

// look says how requests go now: by the VirtualService, and where there is none by the
// Service itself.
func (m *mesh) look() moment {
	out := moment{atCanary: m.endpoints(m.apex + "-canary"), atPrimary: m.endpoints(m.apex + "-primary"), primary: m.workloads[m.name+"-primary"]}
	if c := m.canaries[m.name]; c != nil {
		out.phase = c.Status.Phase
	}
	route := m.routes[m.apex]
	if route == nil {
		out.atPrimary = m.endpoints(m.apex)
		if out.atPrimary == 0 {
			out.lost = 100
		}
		return out
	}
	for _, rule := range route.Spec.Http {
		canary, lost := int32(0), int32(0)
		for _, d := range rule.Route {
			weight := d.Weight
			if len(rule.Route) == 1 {
				weight = 100
			}
			if d.Destination.Host == m.apex+"-canary" {
				canary = weight
			}
			if m.endpoints(d.Destination.Host) == 0 {
				lost += weight
			}
		}
		out.lost = max(out.lost, lost)
		if len(rule.Match) > 0 {
			out.matched = canary
		} else {
			out.canary = canary
		}
	}
	return out
}

// story is what became of the requests while something happened.
type story []moment

// tell gives all moments up to now.
func (p *probe) tell(ctx context.Context) story {
	p.site.t.Helper()
	until, err := p.site.records.now(ctx, p.site.namespace)
	if err != nil {
		p.site.t.Fatal(err)
	}
	m := &mesh{
		routes: map[string]*istionetworking.VirtualService{}, slices: map[string]*discoveryv1.EndpointSlice{},
		canaries: map[string]*v1beta1.Canary{}, workloads: map[string]*appsv1.Deployment{}, apex: p.apex, name: app,
	}
	var out story
	var last time.Time
	for _, x := range p.site.records.of(p.site.namespace) {
		if x.version > until {
			break
		}
		if x.at.After(last) {
			last = x.at // what one watch brought late was not later
		}
		if x.version > p.from && len(out) == 0 {
			out = append(out, m.look())
			out[0].at = last
		}
		m.take(x)
		if x.version > p.from {
			out[len(out)-1].lasted = last.Sub(out[len(out)-1].at)
			next := m.look()
			next.at, next.by = last, x.String()
			out = append(out, next)
		}
	}
	if len(out) == 0 {
		out = append(out, m.look())
	}
	return out
}

// reaction is how long it may take on a busy machine until the traffic has left pods that
// are gone all of a sudden. On an idle one it is a tenth of that.
const reaction = 4 * time.Second

// stop ends the probe: no request was lost. Where something was taken away without notice,
// all that it served may be lost for the time that it takes to react to it: allowed is that share
// in percent.
func (p *probe) stop(allowed int32) story {
	t := p.site.t
	t.Helper()
	out := p.tell(t.Context())
	var lost time.Duration // in which all requests were lost
	var bad []string
	for _, m := range out {
		if m.lost > 0 {
			lost += m.lasted * time.Duration(m.lost) / 100
			bad = append(bad, m.String())
		}
	}
	t.Logf("%d moments; requests of %v lost in %d of them; the canary's shares %v", len(out), lost.Round(time.Millisecond), len(bad), out.shares())
	end := out[len(out)-1]
	switch budget := reaction * time.Duration(allowed) / 100; {
	case end.lost > 0:
		t.Errorf("in the end %d%% of the requests still find nobody", end.lost)
	case lost > budget, allowed == 0 && len(bad) > 0:
		t.Errorf("all requests of %v were lost, %v are allowed", lost.Round(time.Millisecond), budget)
	default:
		return out
	}
	t.Logf("moments in which requests were lost:\n%s", strings.Join(bad, "\n"))
	return out
}

// shares are those of the canary, of requests without condition, in their order.
func (s story) shares() []int32 {
	var out []int32
	for _, m := range s {
		out = append(out, m.canary)
	}
	return slices.Compact(out)
}

// most is the highest share that the canary had.
func (s story) most() int32 { return slices.Max(s.shares()) }

// wantNever fails for a moment that must not be.
func (s story) wantNever(t *testing.T, what string, is func(moment) bool) {
	t.Helper()
	for i, m := range s {
		if is(m) {
			t.Errorf("%s: %s", what, m)
			t.Logf("the moments around it:\n%s", join(s[max(i-8, 0):min(i+4, len(s))]))
			return
		}
	}
}

func join(s story) string {
	var b strings.Builder
	for _, m := range s {
		fmt.Fprintln(&b, m)
	}
	return b.String()
}

var errNotYet = errors.New("not yet")
