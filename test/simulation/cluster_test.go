package simulation

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/workload"
)

// grace is how long a pod that was asked to end goes on serving, beyond what the endpoints lag.
const grace = 3 * time.Second

// pod is one pod. Pods are no objects of the API here: the operator reads none.
type pod struct {
	owner     types.UID
	labels    map[string]string
	revision  string // of the pod template
	image     string // with the contents of its configs
	base      string // the image alone
	configs   []id
	born      time.Time
	waits     bool // for its configs
	minReady  time.Duration
	readyAt   time.Time // zero: never by itself
	ends      time.Time // zero: it was not asked to end
	dead      bool      // it crashed, or its node died
	diedAt    time.Time
	restartAt time.Time // when a dead one is back, zero for never
}

func (p *pod) ending() bool { return !p.ends.IsZero() }

// ready tells whether a pod is ready and may be an endpoint.
func (p *pod) ready(now time.Time) bool {
	return !p.dead && !p.ending() && !p.readyAt.IsZero() && !p.readyAt.After(now)
}

// die has a pod crash, until a moment or, with zero, for ever.
func (p *pod) die(until time.Time) {
	p.dead, p.diedAt, p.restartAt = true, time.Now(), until
}

// serves tells whether a request to it is answered.
func (p *pod) serves(now time.Time) bool {
	return !p.dead && !p.readyAt.IsZero() && !p.readyAt.After(now) && (!p.ending() || p.ends.After(now))
}

func (p *pod) available(now time.Time) bool {
	return p.ready(now) && !p.readyAt.Add(p.minReady).After(now)
}

// publication is what the endpoints controller is about to write.
type publication struct {
	at   time.Time
	pods []*pod
}

// cluster is what runs beside the operator: controllers, kubelet and garbage collector.
type cluster struct {
	*store
	rand *rand.Rand
	pods []*pod
	// endpoints are the published endpoints of each Service.
	endpoints map[string][]*pod
	pending   map[string]publication
	// endpointsLag is how far behind they are.
	endpointsLag time.Duration
	// slow is how long pods take to be ready at most.
	slow time.Duration
	// contents are what was in each config last.
	contents map[id]string
	// readAtStart is true where pods read configs when they start and never again.
	readAtStart bool
	// collected is the version of the store that the garbage collector has looked at.
	collected int
	// startup says when a pod of an image can be ready: false is never. primary is whether it is one of the primary's.
	startup func(image string, primary bool) bool
	scaled  map[string]time.Time // when each autoscaler scaled last
	// demand is for how many pods there are requests.
	demand float64
	// shrinks is called before an autoscaler takes pods of a workload.
	shrinks func(*appsv1.Deployment)
	// load gives the share of requests that a workload has.
	load func(workload string) float64
}

func newCluster(p plan, r *rand.Rand) *cluster {
	return &cluster{
		store: newStore(scheme), rand: r, endpoints: map[string][]*pod{}, pending: map[string]publication{}, contents: map[id]string{},
		slow: 3 * time.Second, scaled: map[string]time.Time{}, demand: float64(p.Pods), readAtStart: p.ReadAtStart,
	}
}

// hashOf names what a pod is made from.
func hashOf(t *corev1.PodTemplateSpec) string {
	h := fnv.New64a()
	raw, _ := t.Marshal() // it is made of nothing that can't be encoded
	_, _ = h.Write(raw)
	return fmt.Sprintf("%x", h.Sum64())
}

// tick has every controller act once.
func (c *cluster) tick() {
	c.collectGarbage()
	now := time.Now()
	for _, p := range c.pods {
		if p.dead && !p.restartAt.IsZero() && !p.restartAt.After(now) {
			p.dead, p.restartAt = false, time.Time{}
			p.readyAt = c.readyAt(p.image, p.labels)
		}
	}
	c.pods = slices.DeleteFunc(c.pods, func(p *pod) bool { return p.ending() && !p.ends.After(now) })
	c.syncConfigs()
	c.endOrphans()
	for _, d := range all[*appsv1.Deployment](c.store) {
		c.rollOut(d)
	}
	for _, h := range all[*autoscalingv2.HorizontalPodAutoscaler](c.store) {
		c.autoscale(h)
	}
	c.publish()
}

// readyAt is when a pod that starts now will be ready.
func (c *cluster) readyAt(image string, of map[string]string) time.Time {
	if !c.startup(image, strings.HasSuffix(of["app"], "-primary")) {
		return time.Time{}
	}
	return time.Now().Add(time.Second + time.Duration(c.rand.Int64N(int64(c.slow)+1)))
}

// published is when endpoints are up to date at the latest. Those that are about to be written while they lag come no sooner once they don't.
func (c *cluster) published() time.Time {
	at := time.Now().Add(c.endpointsLag)
	for _, next := range c.pending {
		if next.at.After(at) {
			at = next.at
		}
	}
	return at
}

// end asks a pod to end.
func (c *cluster) end(p *pod) {
	if !p.ending() {
		p.ends = c.published().Add(grace)
	}
}

// endOrphans ends pods whose Deployment is gone, unless it was deleted without them.
func (c *cluster) endOrphans() {
	living := map[types.UID]bool{"": true}
	for _, d := range all[*appsv1.Deployment](c.store) {
		living[d.UID] = true
	}
	for _, p := range c.pods {
		if !living[p.owner] {
			c.end(p)
		}
	}
}

// rollOut is the controller of Deployments and its ReplicaSets.
func (c *cluster) rollOut(d *appsv1.Deployment) {
	now := time.Now()
	if !d.DeletionTimestamp.IsZero() {
		return
	}
	// Pods that were left by a Deployment that was deleted alone are taken over by one that selects them.
	for _, p := range c.pods {
		if p.owner == "" && !p.ending() && selects(d.Spec.Selector.MatchLabels, p.labels) {
			p.owner = d.UID
		}
	}
	revision := hashOf(&d.Spec.Template)
	c.keepTemplate(d, revision)
	var fresh, old []*pod
	for _, p := range c.pods {
		switch {
		case p.owner != d.UID || p.ending():
		case p.revision == revision:
			fresh = append(fresh, p)
		default:
			old = append(old, p)
		}
	}
	want := int(*d.Spec.Replicas)
	surge, unavailable := bounds(d)
	available := 0
	for _, p := range slices.Concat(fresh, old) {
		if p.available(now) {
			available++
		}
	}
	recreate := d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType
	// The least ready go first.
	byWorth := func(a, b *pod) int { return worth(a, now) - worth(b, now) }
	slices.SortStableFunc(fresh, byWorth)
	slices.SortStableFunc(old, byWorth)
	for len(fresh) > want {
		c.end(fresh[0])
		fresh = fresh[1:]
	}
	switch {
	case recreate && len(old) > 0:
		for _, p := range old {
			c.end(p)
		}
		old = nil
	default:
		total := len(fresh) + len(old)
		for len(fresh) < want && total < want+surge {
			fresh = append(fresh, c.start(d, revision))
			total++
		}
		// Of former pods that are not available no more go than leaves as many as there must be, if no new one is ever available:
		// others may be soon.
		least, waiting := want-unavailable, 0
		for _, p := range fresh {
			if !p.available(now) {
				waiting++
			}
		}
		for spare := len(fresh) + len(old) - least - waiting; spare > 0 && len(old) > 0 && !old[0].available(now); spare-- {
			c.end(old[0])
			old = old[1:]
		}
		for spare := available - least; spare > 0 && len(old) > 0; spare-- {
			c.end(old[0])
			old = old[1:]
		}
	}
	c.report(d, fresh, old)
}

// templatesKept is how many earlier templates of a Deployment are kept.
const templatesKept = 3

// keepTemplate keeps the templates of the primary in ReplicaSets, as the controller of Deployments does with all.
func (c *cluster) keepTemplate(d *appsv1.Deployment, revision string) {
	if !strings.HasSuffix(d.Name, "-primary") {
		return
	}
	const count = "deployment.kubernetes.io/revision"
	number := func(s *appsv1.ReplicaSet) int {
		n, _ := strconv.Atoi(s.Annotations[count]) // it is written here alone
		return n
	}
	sets := c.templatesOf(d)
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int { return number(b) - number(a) })
	name := d.Name + "-" + revision
	if len(sets) > 0 && sets[0].Name == name && sets[0].Annotations[workload.RevisionAnnotation] == d.Annotations[workload.RevisionAnnotation] {
		return
	}
	latest := 0
	for _, s := range sets {
		latest = max(latest, number(s))
	}
	s := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: maps.Clone(d.Spec.Template.Labels), Annotations: maps.Clone(d.Annotations),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, UID: d.UID, Controller: new(true)}},
	}}
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[count] = strconv.Itoa(latest + 1)
	s.Spec.Template = *d.Spec.Template.DeepCopy()
	c.put(id{"ReplicaSet", name}, s)
	for i, s := range sets {
		if i >= templatesKept && s.Name != name {
			c.drop(id{"ReplicaSet", s.Name})
		}
	}
}

// templatesOf are the ReplicaSets of a Deployment.
func (c *cluster) templatesOf(d *appsv1.Deployment) []*appsv1.ReplicaSet {
	return slices.DeleteFunc(all[*appsv1.ReplicaSet](c.store), func(s *appsv1.ReplicaSet) bool { return !metav1.IsControlledBy(s, d) })
}

func worth(p *pod, now time.Time) int {
	switch {
	case p.available(now):
		return 2
	case p.ready(now):
		return 1
	default:
		return 0
	}
}

// bounds are maxSurge and maxUnavailable as numbers, as the controller takes them: never both 0.
func bounds(d *appsv1.Deployment) (surge, unavailable int) {
	want := int(*d.Spec.Replicas)
	maxSurge, maxUnavailable := intstr.FromString("25%"), intstr.FromString("25%")
	if r := d.Spec.Strategy.RollingUpdate; r != nil {
		if r.MaxSurge != nil {
			maxSurge = *r.MaxSurge
		}
		if r.MaxUnavailable != nil {
			maxUnavailable = *r.MaxUnavailable
		}
	}
	surge, _ = intstr.GetScaledValueFromIntOrPercent(&maxSurge, want, true)              // both are numbers or percentages
	unavailable, _ = intstr.GetScaledValueFromIntOrPercent(&maxUnavailable, want, false) // both are numbers or percentages
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

func (c *cluster) start(d *appsv1.Deployment, revision string) *pod {
	p := &pod{
		owner: d.UID, labels: d.Spec.Template.Labels, revision: revision, base: d.Spec.Template.Spec.Containers[0].Image,
		configs: configsOf(&d.Spec.Template), born: time.Now(), minReady: time.Duration(d.Spec.MinReadySeconds) * time.Second,
	}
	version, complete := c.versionFrom(p.base, p.configs)
	p.image, p.waits = version, !complete
	if complete {
		p.readyAt = c.readyAt(p.image, p.labels)
	}
	c.pods = append(c.pods, p)
	return p
}

// report writes the status of a Deployment.
func (c *cluster) report(d *appsv1.Deployment, fresh, old []*pod) {
	now := time.Now()
	st := appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: int32(len(fresh) + len(old)), UpdatedReplicas: int32(len(fresh)), //nolint:gosec // a few pods
	}
	for _, p := range slices.Concat(fresh, old) {
		if p.ready(now) {
			st.ReadyReplicas++
		}
		if p.available(now) {
			st.AvailableReplicas++
		}
	}
	st.UnavailableReplicas = max(*d.Spec.Replicas-st.AvailableReplicas, 0)
	if st.ObservedGeneration == d.Status.ObservedGeneration && st.Replicas == d.Status.Replicas && st.UpdatedReplicas == d.Status.UpdatedReplicas &&
		st.ReadyReplicas == d.Status.ReadyReplicas && st.AvailableReplicas == d.Status.AvailableReplicas {
		return
	}
	edit(c.store, "Deployment", d.Name, func(d *appsv1.Deployment) { d.Status = st })
}

// selects tells whether a selector that is not empty has labels.
func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return len(selector) > 0
}

// publish is the endpoints controller.
func (c *cluster) publish() {
	now := time.Now()
	services := all[*corev1.Service](c.store)
	for _, s := range services {
		var want []*pod
		for _, p := range c.pods {
			if p.ready(now) && selects(s.Spec.Selector, p.labels) {
				want = append(want, p)
			}
		}
		have, known := c.endpoints[s.Name]
		next, waits := c.pending[s.Name]
		switch {
		case known && slices.Equal(have, want):
			delete(c.pending, s.Name)
			continue
		case !waits || !slices.Equal(next.pods, want):
			if !waits {
				next.at = now.Add(time.Duration(c.rand.Int64N(int64(c.endpointsLag) + 1)))
			}
			next.pods = want
			c.pending[s.Name] = next
		}
		if !next.at.After(now) {
			delete(c.pending, s.Name)
			c.endpoints[s.Name] = want
			c.writeEndpoints(s, len(want))
		}
	}
	for name := range maps.Clone(c.endpoints) {
		if get[*corev1.Service](c.store, "Service", name) == nil {
			delete(c.endpoints, name)
			delete(c.pending, name)
			if c.objects[id{"EndpointSlice", name}] != nil {
				c.drop(id{"EndpointSlice", name})
			}
		}
	}
}

func (c *cluster) writeEndpoints(s *corev1.Service, n int) {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: s.Name, Labels: maps.Clone(s.Labels)}, AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: make([]discoveryv1.Endpoint, n),
	}
	if slice.Labels == nil {
		slice.Labels = map[string]string{}
	}
	slice.Labels[discoveryv1.LabelServiceName] = s.Name
	of := id{"EndpointSlice", s.Name}
	if have := c.objects[of]; have != nil {
		slice.UID, slice.CreationTimestamp = have.GetUID(), have.GetCreationTimestamp()
	}
	c.put(of, slice)
}

// autoscale is the controller of HorizontalPodAutoscalers. What is scaled to zero it leaves there.
func (c *cluster) autoscale(h *autoscalingv2.HorizontalPodAutoscaler) {
	name := h.Spec.ScaleTargetRef.Name
	d := get[*appsv1.Deployment](c.store, "Deployment", name)
	if d == nil || *d.Spec.Replicas == 0 || time.Since(c.scaled[h.Name]) < 15*time.Second {
		return
	}
	least := int32(1)
	if h.Spec.MinReplicas != nil {
		least = *h.Spec.MinReplicas
	}
	want := min(max(int32(c.demand*c.load(name)+0.99), least), h.Spec.MaxReplicas)
	if want < *d.Spec.Replicas && time.Since(c.scaled[h.Name]) < time.Minute {
		return
	}
	if want != *d.Spec.Replicas {
		c.scaled[h.Name] = time.Now()
		if want < *d.Spec.Replicas {
			c.shrinks(d)
		}
		edit(c.store, "Deployment", name, func(d *appsv1.Deployment) { d.Spec.Replicas = &want })
	}
}

// collectGarbage carries out deletions: of what has finalizers of the collector's, and of what has lost its owners.
func (c *cluster) collectGarbage() {
	if c.collected == c.version {
		return // nothing has changed since it looked last
	}
	c.collected = c.version
	living := map[types.UID]client.Object{}
	for _, o := range c.objects {
		living[o.GetUID()] = o
	}
	for _, of := range c.sorted() {
		o := c.objects[of]
		switch {
		case o == nil:
		case slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents):
			c.orphan(of, o)
		case slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents):
			c.foreground(of, o)
		case len(o.GetOwnerReferences()) > 0 && !slices.ContainsFunc(o.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return living[r.UID] != nil }):
			_ = c.remove(of, metav1.DeletePropagationBackground) // it is there
		}
	}
}

// sorted are the names of all objects, in one order.
func (c *cluster) sorted() []id {
	out := slices.Collect(maps.Keys(c.objects))
	slices.SortFunc(out, func(a, b id) int { return strings.Compare(a.kind+"/"+a.name, b.kind+"/"+b.name) })
	return out
}

// dependents are the objects that an object owns.
func (c *cluster) dependents(of client.Object) []id {
	return slices.DeleteFunc(c.sorted(), func(d id) bool {
		return !slices.ContainsFunc(c.objects[d].GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == of.GetUID() })
	})
}

func (c *cluster) orphan(of id, o client.Object) {
	for _, d := range c.dependents(o) {
		edit(c.store, d.kind, d.name, func(d client.Object) {
			d.SetOwnerReferences(slices.DeleteFunc(slices.Clone(d.GetOwnerReferences()), func(r metav1.OwnerReference) bool { return r.UID == o.GetUID() }))
		})
	}
	if of.kind == "Deployment" {
		for _, p := range c.pods {
			if p.owner == o.GetUID() {
				p.owner = ""
			}
		}
	}
	c.release(of, metav1.FinalizerOrphanDependents)
}

func (c *cluster) foreground(of id, o client.Object) {
	left := c.dependents(o)
	for _, d := range left {
		if c.objects[d].GetDeletionTimestamp().IsZero() {
			_ = c.remove(d, metav1.DeletePropagationForeground) // it is there
		}
	}
	if len(left) == 0 {
		c.release(of, metav1.FinalizerDeleteDependents)
	}
}

// release takes a finalizer from an object.
func (c *cluster) release(of id, finalizer string) {
	edit(c.store, of.kind, of.name, func(o client.Object) {
		o.SetFinalizers(slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == finalizer }))
	})
}
