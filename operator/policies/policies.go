// Package policies has releases wait for the ReleasePolicies and ClusterReleasePolicies that select their Canaries: it
// keeps package policy informed, which decides, and wakes whoever's turn it is.
package policies

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/policy"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/operator/world"
)

// Config is what Policies work with.
type Config struct {
	// Client reads from the cache, and writes the status of policies.
	Client client.Client
	// Clock tells the time.
	Clock clock.PassiveClock
	// Wake has Canaries looked at whose turn it is.
	Wake func(context.Context, []types.NamespacedName)
	// Recorder sends events about policies.
	Recorder events.EventRecorder
	// Queues makes the queue of the policies whose status is to be written.
	Queues *telemetry.Queues
	// Namespaces are those that the operator looks at, none for all. In some alone it has no rights on what is in
	// none, and so no ClusterReleasePolicies.
	Namespaces []string
	// Telemetry publishes how the policies stand, nil for nobody.
	Telemetry *telemetry.Policies
	// MostPerConfig is how many releases that one ConfigMap or Secret has begun are under way at once, 0 for any number.
	MostPerConfig int
}

// Policies are the release policies of a cluster. A nil one has none.
type Policies struct {
	Config

	index   *policy.Index
	changed chan event.GenericEvent

	reading  sync.Mutex // of all Canaries
	mu       sync.Mutex
	unread   map[string]struct{} // kinds that are served, and of which it is not known yet what there is
	tracking bool                // the index is kept up
	early    map[types.NamespacedName]struct{}
	spaces   error // why the labels of namespaces are not known
}

var _ world.Observer = (*Policies)(nil)

// New gives Policies that know of none.
func New(c Config) *Policies {
	x := &Policies{
		Config: c, index: policy.NewIndex(c.MostPerConfig), changed: make(chan event.GenericEvent, 1024),
		unread: map[string]struct{}{}, early: map[types.NamespacedName]struct{}{},
		spaces: errors.New("they have not been read yet"),
	}
	if c.Telemetry != nil {
		c.Telemetry.Follow(x.standings)
	}
	return x
}

// standings are how the policies stand now.
func (x *Policies) standings() []telemetry.PolicyStanding {
	all := x.index.Standings(x.Clock.Now())
	out := make([]telemetry.PolicyStanding, len(all))
	for i, s := range all {
		kind := v1alpha1.ReleasePolicyKind
		switch {
		case s.Key == (policy.Key{}):
			kind = telemetry.KindOfConfigs
		case s.Key.Namespace == "":
			kind = v1alpha1.ClusterReleasePolicyKind
		}
		out[i] = telemetry.PolicyStanding{
			Kind: kind, Namespace: s.Key.Namespace, Name: s.Key.Name, UnderWay: s.UnderWay, Waiting: s.Waiting, Limit: s.Limit, Frozen: s.Frozen,
		}
	}
	return out
}

// Observe adds how the release stands with the policies. Whoever observes has to Settle. Until all policies are known
// no release begins: it may be one of them that keeps it from it.
func (x *Policies) Observe(ctx context.Context, w *world.World) error {
	if x == nil {
		return nil
	}
	c := w.Canary
	if x.MostPerConfig > 0 && len(w.ChangedConfigs) > 0 {
		if err := x.track(ctx, x.Client); err != nil { // who is under way must be known, whether there are policies or not
			return err
		}
	}
	known, reading := x.knows(c)
	switch {
	case reading:
		w.Turn = &release.Turn{Reason: release.ReasonPoliciesUnread, Message: "the release policies have not been read yet"}
	case known:
		turn, wake := x.index.TurnOf(c, w.ChangedConfigs, w.Now)
		w.Turn = turn
		x.wake(ctx, wake)
	}
	return nil
}

// knows tells whether policies are known, or are being read, after which the Canary is looked at again.
func (x *Policies) knows(c *v1beta1.Canary) (known, reading bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if reading = len(x.unread) > 0; reading {
		x.early[client.ObjectKeyFromObject(c)] = struct{}{}
	}
	return x.tracking, reading
}

func (x *Policies) wake(ctx context.Context, keys []types.NamespacedName) {
	if len(keys) > 0 {
		x.Wake(ctx, keys)
	}
}

// Settle says how a Canary is at the end of a turn, whatever came of that.
func (x *Policies) Settle(ctx context.Context, c *v1beta1.Canary) {
	if x.follows() {
		x.wake(ctx, x.index.Settle(c, x.Clock.Now()))
	}
}

func (x *Policies) follows() bool {
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.tracking
}

// Served says that kinds are served, so that no release begins before they are read.
func (x *Policies) Served(kinds ...string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, kind := range kinds {
		x.unread[kind] = struct{}{}
	}
}

// Read reads all policies of a kind, and at the first time all Canaries, from a cache. What changes from then on is to be
// Seen.
func (x *Policies) Read(ctx context.Context, from client.Reader, kind string) error {
	list := client.ObjectList(&v1alpha1.ReleasePolicyList{})
	if kind == v1alpha1.ClusterReleasePolicyKind {
		list = &v1alpha1.ClusterReleasePolicyList{}
	}
	if err := from.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list %ss: %w", kind, err)
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return fmt.Errorf("list %ss: %w", kind, err)
	}
	for _, o := range items {
		x.wake(ctx, x.Seen(o.(client.Object))) //nolint:forcetypeassert // both lists are of objects
	}
	if err := x.track(ctx, from); err != nil {
		return err
	}
	x.wake(ctx, x.wasRead(kind))
	return nil
}

// track has the index know all Canaries, once. Those that change meanwhile are newer than what is read here, and of
// those that go none is left.
func (x *Policies) track(ctx context.Context, from client.Reader) error {
	x.reading.Lock() // whoever comes meanwhile has to know all, too
	defer x.reading.Unlock()
	x.mu.Lock()
	already := x.tracking
	x.tracking = true
	x.mu.Unlock()
	if already {
		return nil
	}
	var all v1beta1.CanaryList
	if err := from.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list Canaries: %w", err)
	}
	for i := range all.Items {
		c, key := &all.Items[i], client.ObjectKeyFromObject(&all.Items[i])
		x.index.SetCanary(c, x.Clock.Now())
		if err := from.Get(ctx, key, &v1beta1.Canary{}); client.IgnoreNotFound(err) == nil && err != nil {
			x.index.RemoveCanary(key, x.Clock.Now())
		}
	}
	return nil
}

// wasRead returns who has asked too early, once all is read.
func (x *Policies) wasRead(kind string) []types.NamespacedName {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.unread, kind)
	if len(x.unread) > 0 {
		return nil
	}
	out := make([]types.NamespacedName, 0, len(x.early))
	for key := range x.early {
		out = append(out, key)
	}
	clear(x.early)
	return out
}

// Seen says how a policy, a Canary or, by its metadata, a namespace is. It returns whose turn may have come.
func (x *Policies) Seen(o client.Object) []types.NamespacedName {
	now := x.Clock.Now()
	switch o := o.(type) {
	case *v1alpha1.ReleasePolicy:
		return x.index.SetPolicy(policy.Of(o), now)
	case *v1alpha1.ClusterReleasePolicy:
		return x.index.SetPolicy(x.ofCluster(o), now)
	case *v1beta1.Canary:
		if x.follows() {
			return x.index.SetCanary(o, now)
		}
	case *metav1.PartialObjectMetadata, *corev1.Namespace:
		return x.index.SetNamespace(o.GetName(), labelsOf(o), now)
	}
	return nil
}

// labelsOf are the labels of an object, which are not nil.
func labelsOf(o client.Object) map[string]string {
	if l := o.GetLabels(); l != nil {
		return l
	}
	return map[string]string{}
}

// Gone says that an object is not there any more. It returns whose turn may have come.
func (x *Policies) Gone(o client.Object) []types.NamespacedName {
	now := x.Clock.Now()
	switch o := o.(type) {
	case *v1alpha1.ReleasePolicy:
		return x.index.RemovePolicy(policy.Key{Namespace: o.Namespace, Name: o.Name}, now)
	case *v1alpha1.ClusterReleasePolicy:
		return x.index.RemovePolicy(policy.Key{Name: o.Name}, now)
	case *v1beta1.Canary:
		return x.index.RemoveCanary(client.ObjectKeyFromObject(o), now)
	case *metav1.PartialObjectMetadata, *corev1.Namespace:
		return x.index.SetNamespace(o.GetName(), nil, now)
	}
	return nil
}

// ofCluster are the rules of a policy for several namespaces. Where their labels can't be known it is about all.
func (x *Policies) ofCluster(p *v1alpha1.ClusterReleasePolicy) policy.Rules {
	r := policy.OfCluster(p)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.spaces != nil && r.ByNamespace() {
		r.Refuse("spec.namespaces: the labels of namespaces can't be read: " + x.spaces.Error())
	}
	return r
}

// rulesOf are the rules of a policy of either kind.
func (x *Policies) rulesOf(o client.Object) policy.Rules {
	if p, ok := o.(*v1alpha1.ClusterReleasePolicy); ok {
		return x.ofCluster(p)
	}
	return policy.Of(o.(*v1alpha1.ReleasePolicy)) //nolint:forcetypeassert // there are two kinds
}
