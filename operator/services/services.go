// Package services keeps the Services of Canaries: the apex, which people call, and those of
// primary and canary, which the mesh divides the traffic between.
package services

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/memory"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/spec"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// ReasonNoSelectorLabel says that the target's selector has none of the labels that may tell its pods from the primary's.
const ReasonNoSelectorLabel = "NoSelectorLabel"

// serviceIndex is the index of EndpointSlices by their Service.
const serviceIndex = "service"

// Indexes are those of the cache for endpoints.
func Indexes() []wake.Index {
	return []wake.Index{{Of: &discoveryv1.EndpointSlice{}, Name: serviceIndex, Values: serviceOf, InNamespace: true}}
}

// Caches are the settings of a cache for the kinds of which it must not have everything.
func Caches() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{&discoveryv1.EndpointSlice{}: endpointsCache()}
}

// Services keeps the Services of Canaries. It is safe for concurrent use.
type Services struct {
	// Client reads from a cache that has the Indexes.
	Client client.Reader
	// Applier writes Services.
	Applier *ssa.Applier
	// Options are the settings for generated objects.
	Options workload.Options

	memory memory.Memory[known]
}

// Share is what the Services of a Canary are to be in a turn.
type Share struct {
	part  *Services
	world *world.World

	intents workload.Services
	// known is what was known of them before this turn, nil if something has changed since.
	known *known
	// refused is true where some of them could not be written the last time, and do for
	// traffic as they are: they are still to be written.
	refused bool
	reached bool // all available pods have endpoints
}

var (
	_ world.Part[*Share] = (*Services)(nil)
	_ wake.Waker         = (*Services)(nil)
)

// SetUp wakes the Canaries of Services, and of endpoints, that changed.
func (p *Services) SetUp(ctx context.Context, w *wake.Watches) error {
	w.Builder.
		Watches(&corev1.Service{}, wake.Deleted(handler.EnqueueRequestsFromMapFunc(w.Canaries.ByName(wake.ApexIndex)), p.Applier)).
		Watches(&discoveryv1.EndpointSlice{}, w.Events.OfEndpoints())
	return w.Index(ctx, Indexes()...)
}

// Forget drops what is known of a Canary that is gone.
func (p *Services) Forget(key types.NamespacedName) { p.memory.Forget(key) }

// Size is how many Canaries something is known of.
func (p *Services) Size() int { return p.memory.Size() }

// Observe builds the Services that are wanted, looks whose those are that are there and
// whether they are what they must be, and looks at target and primary through their
// endpoints. Services that can't be the Canary's are a mistake.
func (p *Services) Observe(ctx context.Context, w *world.World) (*Share, error) {
	s := &Share{part: p, world: w}
	if knative.Is(w.Canary) {
		w.HasServices, w.ServicesInSync = w.Primary.Exists, true // Knative makes them with its revisions
		return s, nil
	}
	mistake := s.observe(ctx)
	if mistake != nil && world.AsMistake(mistake) == nil {
		return s, mistake
	}
	w.Port = s.intents.MainPort()
	if s.intents.Canary != nil {
		w.Ports = s.intents.Canary.Spec.Ports
	}
	if err := s.observeEndpoints(ctx); err != nil {
		return s, err
	}
	deleted := !w.Canary.DeletionTimestamp.IsZero()
	if deleted {
		var err error
		if w.ApexMisses, err = s.apexMisses(ctx); err != nil {
			return s, err
		}
	}
	if deleted || len(s.intents.All()) > 0 {
		var err error
		if w.ServicesInSync, err = s.inSync(ctx); err != nil {
			return s, err
		}
	}
	return s, mistake
}

// observe builds the Services that are wanted, and looks whose those are
// that are there.
func (s *Share) observe(ctx context.Context) error {
	p, w := s.part, s.world
	deleted := !w.Canary.DeletionTimestamp.IsZero()
	if w.TargetObject == nil && (deleted || w.PrimaryObject == nil) {
		return nil
	}
	intents, err := p.build(w)
	if err != nil {
		return err
	}
	if deleted {
		s.intents = intents // whatever is wrong with one of them, the others are given back
	}
	live, err := p.existing(ctx, intents)
	if err != nil {
		return err
	}
	intents.KeepPorts(w.Canary, live)
	if err := p.mayHave(w, intents, live); err != nil {
		return err
	}
	w.HasServices, w.ClusterIPs = hasServices(w, live), clusterIPs(intents, live)
	s.intents = intents
	if deleted {
		return nil
	}
	now := stateOf(w, live)
	if last, ok := p.memory.Get(w.Canary); ok && last.of == now {
		s.known = &last
	} else {
		p.memory.Set(w.Canary, known{of: now})
	}
	return nil
}

// hasServices tells whether the Service that leads to the primary, the first of all, is there
// and was made for the Canary.
func hasServices(w *world.World, live []*corev1.Service) bool {
	return len(live) > 0 && live[0] != nil && w.Owner.Owns(live[0])
}

// clusterIPs are the addresses of the Services that people call by their names.
func clusterIPs(intents workload.Services, live []*corev1.Service) (out providers.ClusterIPs) {
	for i, s := range intents.All() {
		switch {
		case live[i] == nil:
		case s == intents.Apex:
			out.Apex = live[i].Spec.ClusterIP
		case s == intents.Canary:
			out.Canary = live[i].Spec.ClusterIP
		}
	}
	return out
}

// build gives the intents for the Services, by what there is to lead to.
func (p *Services) build(w *world.World) (workload.Services, error) {
	if w.TargetObject == nil {
		return workload.PrimaryServices(w.Canary, w.PrimaryObject, p.Options), nil
	}
	intents, err := workload.BuildServices(w.Canary, w.TargetObject, w.PrimaryObject, p.Options)
	if err != nil {
		return intents, world.Mistake(ReasonNoSelectorLabel, "spec.targetRef: %v", err)
	}
	message := spec.InvalidServices(w.Canary, w.TargetObject, intents)
	if message != "" && w.Canary.DeletionTimestamp.IsZero() { // else what can be given back is
		return intents, world.Mistake(world.ReasonInvalidSpec, "%s", message)
	}
	return intents, nil
}

// mayHave refuses Services that are there and can't be the Canary's.
func (p *Services) mayHave(w *world.World, intents workload.Services, live []*corev1.Service) error {
	c := w.Canary
	for i, s := range slices.Backward(intents.All()) { // what the apex Service has the others need
		if live[i] == nil {
			continue
		}
		if err := w.Conflict(live[i], workload.KindService); err != nil {
			return err
		}
		if w.Owner.Owns(live[i]) || !c.DeletionTimestamp.IsZero() {
			continue
		}
		if s == intents.Registration {
			return world.Foreign(world.ReasonConflict, "Service %s is not Sluice's, which needs that name to have consul-k8s register the target's pods; delete it or choose another spec.service.name", s.Name)
		}
		if !spec.MayAdopt(intents, live[i], w.TargetObject, w.PrimaryObject, p.Options) {
			return world.Foreign(world.ReasonConflict, "spec.service.name: the Service %s leads elsewhere than to the target, by the selector %q; choose another name, or have its owner set its annotation %s to \"true\"",
				live[i].Name, labels.FormatLabels(live[i].Spec.Selector), spec.AdoptableAnnotation)
		}
		if err := adopt(c, intents, s, live[i]); err != nil {
			return err
		}
	}
	return nil
}

// adopt has the intent for a Service keep what a user, whose Service it is, has
// set.
func adopt(c *v1beta1.Canary, all workload.Services, intent, live *corev1.Service) error {
	err := all.Adopt(c, intent, live)
	var unsupported *workload.UnsupportedServiceError
	if errors.As(err, &unsupported) {
		return world.Mistake(world.ReasonConflict, "%v", unsupported)
	}
	return err
}

// existing reads the Services that there are intents for, nil for one that
// is not there.
func (p *Services) existing(ctx context.Context, intents workload.Services) ([]*corev1.Service, error) {
	all := intents.All()
	out := make([]*corev1.Service, len(all))
	for i, s := range all {
		var err error
		if out[i], err = kube.Get[corev1.Service](ctx, p.Client, s.Namespace, s.Name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ours reads the Services by the names that the Canary has for them,
// without those that are not there or are another controller's.
func (p *Services) ours(ctx context.Context, w *world.World) ([]*corev1.Service, error) {
	all, err := p.named(ctx, w.Canary)
	return slices.DeleteFunc(all, func(live *corev1.Service) bool { return w.Conflict(live, workload.KindService) != nil }), err
}

// named reads the Services by the names that a Canary has for them, without
// those that are not there.
func (p *Services) named(ctx context.Context, c *v1beta1.Canary) ([]*corev1.Service, error) {
	apex, primary, canary := c.ServiceNames()
	var out []*corev1.Service
	for _, name := range []string{apex, primary, canary} {
		live, err := kube.Get[corev1.Service](ctx, p.Client, c.Namespace, name)
		if err != nil {
			return nil, err
		}
		if live != nil {
			out = append(out, live)
		}
	}
	return out, nil
}

// inSync tells whether the Services are as they must be.
func (s *Share) inSync(ctx context.Context) (bool, error) {
	if !s.world.Canary.DeletionTimestamp.IsZero() {
		return s.givenBack(ctx)
	}
	if s.known != nil && s.known.inSync {
		return true, nil
	}
	for _, intent := range s.intents.All() {
		same, err := s.part.Applier.InSync(ctx, intent, serviceKey(intent))
		if err != nil {
			return false, err
		}
		if same {
			continue
		}
		// What leads to others until the primary has pods does what it can until then: nothing waits for it, least of all
		// the release that brings those pods.
		later := intent != s.intents.Canary && s.strays(ctx) || (intent == s.intents.Apex || intent == s.intents.Registration) && s.leadsToNobody(ctx)
		if !later && !s.leads(ctx, intent) {
			return false, nil
		}
		s.refused = true
	}
	if s.known != nil && !s.refused {
		s.known.inSync = true
		s.part.memory.Set(s.world.Canary, *s.known)
	}
	return true, nil
}

// leads tells whether a Service whose write was refused the last time does for traffic
// what it must: nothing waits for a label.
func (s *Share) leads(ctx context.Context, intent *corev1.Service) bool {
	refused := slices.ContainsFunc(s.world.Failures, func(f release.Failure) bool { return f.Object == title(intent) })
	if !refused {
		return false
	}
	live, err := kube.Get[corev1.Service](ctx, s.part.Client, intent.Namespace, intent.Name)
	return err == nil && live != nil && workload.LeadsLike(live, intent)
}

// Refused tells whether some Services do for traffic as they are, though they could not be
// written.
func (s *Share) Refused() bool { return s.refused }

// Reached tells whether all available pods were seen to have endpoints.
func (s *Share) Reached() bool { return s.reached }

// Backends tells whether the Services that a route divides traffic between are there.
func (s *Share) Backends(ctx context.Context) bool {
	c := s.world.Canary
	if knative.Is(c) {
		return true
	}
	_, primary, canary := c.ServiceNames()
	for _, name := range []string{primary, canary} {
		if live, err := kube.Get[corev1.Service](ctx, s.part.Client, c.Namespace, name); err != nil || live == nil {
			return false
		}
	}
	return true
}

// Apply writes the Services that the mesh divides traffic between. One that is refused
// stops no other; the error names each.
func (s *Share) Apply(ctx context.Context, _ release.Desired) error {
	var failed world.ObjectErrors
	for _, intent := range s.intents.All() {
		if intent == s.intents.Apex || intent == s.intents.Registration || intent == s.intents.Primary && s.strays(ctx) {
			continue
		}
		if err := s.part.apply(ctx, intent); err != nil {
			failed = append(failed, world.ObjectError{Object: title(intent), Err: err})
		}
	}
	return failed.OrNil()
}

// ApplyApex writes the Service that people call, after what it leads to, and then the one
// for which consul-k8s registers the target's pods, which the apex Service registers before. One that leads
// elsewhere is left as it is while the primary has no pod and somebody else has some.
func (s *Share) ApplyApex(ctx context.Context) error {
	if s.leadsToNobody(ctx) || s.strays(ctx) {
		return nil
	}
	for _, intent := range []*corev1.Service{s.intents.Apex, s.intents.Registration} {
		if intent == nil {
			continue
		}
		if err := s.part.apply(ctx, intent); err != nil {
			return world.ObjectErrors{{Object: title(intent), Err: err}}
		}
	}
	return nil
}

// leadsToNobody tells whether people who find somebody would find nobody if they were led to the primary now, be it
// only until proxies have the route.
func (s *Share) leadsToNobody(ctx context.Context) bool {
	if s.intents.Apex == nil || s.world.Primary.Available > 0 || s.world.Target.Available == 0 {
		return false
	}
	live, err := kube.Get[corev1.Service](ctx, s.part.Client, s.world.Canary.Namespace, s.intents.Apex.Name)
	if err != nil || live == nil || maps.Equal(live.Spec.Selector, s.intents.Apex.Spec.Selector) {
		return false
	}
	template := workload.Template(s.world.TargetObject)
	return template == nil || labels.SelectorFromSet(live.Spec.Selector).Matches(labels.Set(template.Labels))
}

// strays tells whether people are led to pods of a former primary, as one leaves that was deleted without them, and would be led to
// nobody by the labels of the one that is there now, which has no pod yet. Pods are never of both: the labels differ.
func (s *Share) strays(ctx context.Context) bool {
	if s.intents.Primary == nil || s.world.PrimaryObject == nil || s.world.Primary.Available > 0 {
		return false
	}
	live, err := kube.Get[corev1.Service](ctx, s.part.Client, s.world.Canary.Namespace, s.intents.Primary.Name)
	if err != nil || live == nil || maps.Equal(live.Spec.Selector, s.intents.Primary.Spec.Selector) {
		return false
	}
	endpoints, _, err := s.endpoints(ctx, live.Name)
	return err == nil && endpoints > 0
}

func (p *Services) apply(ctx context.Context, intent *corev1.Service) error {
	return p.Applier.Apply(ctx, intent, serviceKey(intent))
}

// title names a Service where people are told what could not be written.
func title(s *corev1.Service) string { return workload.KindService + " " + s.Name }

// serviceKey stands for the intent for a Service. To write it as JSON at every
// turn would cost more.
func serviceKey(s *corev1.Service) ssa.Option {
	raw, _ := s.Marshal() // it has room for all of it, so that nothing can fail
	return ssa.Keyed("Service " + string(raw))
}

// Named are the Services that there are by the names that a Canary has for them.
func (p *Services) Named(ctx context.Context, c *v1beta1.Canary) ([]client.Object, error) {
	all, err := p.named(ctx, c)
	if err != nil {
		return nil, err
	}
	out := make([]client.Object, len(all))
	for i := range all {
		out[i] = all[i]
	}
	return out, nil
}

// Owned are all Services that were made for a Canary, primaries of that kind too. They are
// the cache's own and must not be changed.
func (p *Services) Owned(ctx context.Context, w *world.World) ([]client.Object, error) {
	var all corev1.ServiceList
	if err := p.Client.List(ctx, &all, client.InNamespace(w.Canary.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Services: %w", err)
	}
	var out []client.Object
	for i := range all.Items {
		if w.Owner.Owns(&all.Items[i]) {
			out = append(out, &all.Items[i])
		}
	}
	return out, nil
}
