package coverage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/operator/wake"
)

const (
	// kindsPoll is how often it is looked whether another of the kinds that
	// select pods is served. A look is one request, and one more for each that its group lacks.
	kindsPoll = time.Minute
	// syncTimeout is how long the first turn waits for these kinds. One that
	// may not be read would never come.
	syncTimeout = 10 * time.Second
	// ReachIndex finds objects by the namespaces that they may select in.
	ReachIndex = "reach"
	// LeadIndex finds Services by a label of the pods that they lead to.
	LeadIndex = "lead"
)

// kindsWatched are the kinds whose objects are being read. It is safe for concurrent use.
type kindsWatched struct {
	mu  sync.Mutex
	all []watched
}

// watched is a kind whose objects are being read.
type watched struct {
	schema.GroupVersionKind

	hasSynced func() bool
}

// synced tells whether all kinds that are watched have been read.
func (k *kindsWatched) synced() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.all {
		if !w.hasSynced() {
			return false
		}
	}
	return true
}

// read are those that have been read. Listing another one would wait for it.
func (k *kindsWatched) read() []schema.GroupVersionKind {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []schema.GroupVersionKind
	for _, w := range k.all {
		if w.hasSynced() {
			out = append(out, w.GroupVersionKind)
		}
	}
	return out
}

func (k *kindsWatched) add(w watched) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, w)
}

// objects are all that may select pods of a subject, or its Services. They are
// the cache's own and must not be changed.
func (k *Keeper) objects(ctx context.Context, subject Subject) ([]*unstructured.Unstructured, error) {
	out, err := k.services(ctx, subject)
	if err != nil {
		return nil, err
	}
	for _, kind := range k.watched.read() {
		for _, reach := range []string{subject.Namespace, Everywhere} {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
			if err := k.Reader.List(ctx, list, client.MatchingFields{ReachIndex: reach}, client.UnsafeDisableDeepCopy); err != nil {
				return nil, fmt.Errorf("list %s: %w", kind.Kind, err)
			}
			for i := range list.Items {
				out = append(out, &list.Items[i])
			}
		}
	}
	return out, nil
}

// services are the Services that lead to pods of a subject. Of those of its namespace only those are looked at that select
// by something that these pods have: a namespace with many Canaries has several times as many Services.
func (k *Keeper) services(ctx context.Context, subject Subject) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, pair := range pairsOf(subject) {
		var services corev1.ServiceList
		err := k.Client.List(ctx, &services, client.InNamespace(subject.Namespace), client.MatchingFields{LeadIndex: pair}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, fmt.Errorf("list Services: %w", err)
		}
		for i := range services.Items {
			if s := &services.Items[i]; subject.Leads(s.Spec.Selector) { // each has one value of the index
				out = append(out, serviceObject(s))
			}
		}
	}
	return out, nil
}

// pairsOf are the labels that a Service which leads to the target's pods may select by, each once, as LeadIndex has them.
func pairsOf(s Subject) []string {
	found := map[string]struct{}{pair(s.Label, s.Target): {}}
	for _, pod := range s.Pods {
		for key, value := range pod {
			if key != s.Label {
				found[pair(key, value)] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func pair(key, value string) string { return key + "=" + value }

// Indexes are those of the cache for Services.
func Indexes() []wake.Index {
	return []wake.Index{{Of: &corev1.Service{}, Name: LeadIndex, Values: leads, InNamespace: true}}
}

// leads is the index function of LeadIndex. What is selected has all that a selector names, so that one label of it is
// enough to find the selector.
func leads(o client.Object) []string {
	s, ok := o.(*corev1.Service)
	if !ok || len(s.Spec.Selector) == 0 {
		return nil
	}
	first := slices.Min(slices.Collect(maps.Keys(s.Spec.Selector)))
	return []string{pair(first, s.Spec.Selector[first])}
}

// serviceObject is what selectors know of a Service.
func serviceObject(s *corev1.Service) *unstructured.Unstructured {
	selector := map[string]any{}
	for k, v := range s.Spec.Selector {
		selector[k] = v
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"selector": selector}}}
	u.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Service"))
	u.SetNamespace(s.Namespace)
	u.SetName(s.Name)
	u.SetAnnotations(s.Annotations)
	return u
}

// reaches is the index function of ReachIndex.
func (k *Keeper) reaches(o client.Object) []string {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	return Reach(u, k.RootNamespace)
}

// eventSource brings the Canaries that are concerned by what selects pods.
// It is a source of the controller, so that the first turn finds these objects
// read. A kind that may not be read, or is not served, holds up nothing.
type eventSource struct {
	keeper  *Keeper
	manager ctrl.Manager
	groups  discovery.ServerGroupsInterface

	queue   workqueue.TypedRateLimitingInterface[reconcile.Request]
	missing []Kind
}

func newEventSource(k *Keeper, mgr ctrl.Manager) (*eventSource, error) {
	groups, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("client of the served kinds: %w", err)
	}
	groups.UseLegacyDiscovery = true // it asks for names of groups only, and not for all that is in them
	return &eventSource{keeper: k, manager: mgr, groups: groups}, nil
}

// String names the source in the log.
func (s *eventSource) String() string { return "what selects pods by label" }

// Start watches what is served, and goes on looking for the rest until ctx
// ends.
func (s *eventSource) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	s.queue = queue
	informer, err := s.manager.GetCache().GetInformer(ctx, &corev1.Service{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch Services: %w", err)
	}
	if _, err := informer.AddEventHandler(s.handler()); err != nil {
		return fmt.Errorf("watch Services: %w", err)
	}
	s.keeper.changes.counted()
	for _, k := range Kinds() {
		if k.Group != "" {
			s.missing = append(s.missing, k)
		}
	}
	s.look(ctx)
	go func() {
		// The only error is the end of ctx.
		_ = wait.PollUntilContextCancel(ctx, kindsPoll, false, func(ctx context.Context) (bool, error) {
			s.look(ctx)
			return len(s.missing) == 0, nil
		})
	}()
	return nil
}

// WaitForSync waits until everything is read, but not for ever.
func (s *eventSource) WaitForSync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if !toolscache.WaitForCacheSync(ctx.Done(), s.keeper.watched.synced) && ctx.Err() != nil {
		log.FromContext(ctx).Info("Not all objects that select pods by label could be read; what is told of them may be incomplete. See -coverage")
	}
	return nil
}

// look begins to watch the missing kinds that are served now.
func (s *eventSource) look(ctx context.Context) {
	served, err := s.groups.ServerGroups()
	if err != nil {
		log.FromContext(ctx).Error(err, "Looking for kinds that select pods by label")
		return
	}
	is := map[string]bool{}
	for i := range served.Groups {
		is[served.Groups[i].Name] = true
	}
	var missing []Kind
	for _, k := range s.missing {
		if k.instead != "" && is[k.instead] { // the group without a name is always served
			continue
		}
		if !is[k.Group] || !s.watch(ctx, k) {
			missing = append(missing, k)
		}
	}
	s.missing = missing
}

// watch begins to watch a kind in the version that the server prefers. It
// returns false for one that is not served.
func (s *eventSource) watch(ctx context.Context, k Kind) bool {
	mapping, err := s.manager.GetRESTMapper().RESTMapping(k.GroupKind)
	if err != nil {
		return false
	}
	kind := &unstructured.Unstructured{}
	kind.SetGroupVersionKind(mapping.GroupVersionKind)
	objects := s.manager.GetCache()
	err = objects.IndexField(ctx, kind, ReachIndex, s.keeper.reaches)
	if err == nil {
		var informer cache.Informer
		if informer, err = objects.GetInformer(ctx, kind, cache.BlockUntilSynced(false)); err == nil {
			_, err = informer.AddEventHandler(s.handler())
			s.keeper.watched.add(watched{GroupVersionKind: mapping.GroupVersionKind, hasSynced: informer.HasSynced})
		}
	}
	if err != nil {
		log.FromContext(ctx).Error(err, "Watching a kind that selects pods by label", "kind", mapping.GroupVersionKind.String())
	}
	return true
}

// handler brings the Canaries that an object concerns, as it was or as it is.
func (s *eventSource) handler() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { s.enqueue(selecting(o)) },
		UpdateFunc: func(before, after any) {
			if b, a := selecting(before), selecting(after); changed(b, a) {
				s.enqueue(b, a)
			}
		},
		DeleteFunc: func(o any) {
			if last, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			u := selecting(o)
			if u != nil && s.keeper.Applier != nil {
				s.keeper.Applier.Deleted(u)
			}
			s.enqueue(u)
		},
	}
}

// selecting is an object of an informer as it is assessed, nil for what can't
// be.
func selecting(o any) *unstructured.Unstructured {
	switch o := o.(type) {
	case *unstructured.Unstructured:
		return o
	case *corev1.Service:
		return serviceObject(o)
	default:
		return nil
	}
}

// changed leaves out updates of the status, which come with every pod.
func changed(before, after *unstructured.Unstructured) bool {
	if before == nil || after == nil {
		return false
	}
	return !equality.Semantic.DeepEqual(before.Object["spec"], after.Object["spec"]) ||
		!maps.Equal(before.GetLabels(), after.GetLabels()) ||
		!maps.Equal(before.GetAnnotations(), after.GetAnnotations()) ||
		!equality.Semantic.DeepEqual(before.GetOwnerReferences(), after.GetOwnerReferences())
}

func (s *eventSource) enqueue(objects ...*unstructured.Unstructured) {
	for _, u := range objects {
		if u == nil {
			continue
		}
		s.keeper.changed(u)
		for _, key := range s.keeper.concerned(u) {
			s.queue.Add(reconcile.Request{NamespacedName: key})
		}
	}
}
