package wake

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Indexes of the cache, by which a Canary is found from what it refers to.
const (
	// TargetIndex finds Canaries by the names of their target and primary.
	TargetIndex = "target"
	// ApexIndex finds Canaries by the names of their Services.
	ApexIndex = "apex"
	// IngressIndex finds Canaries by the names of the Ingresses by which their requests come.
	IngressIndex = "ingress"
)

// Indexes are those of the cache for Canaries.
func Indexes() []Index {
	return []Index{
		{Of: &v1beta1.Canary{}, Name: TargetIndex, Values: workloadNames, InNamespace: true},
		{Of: &v1beta1.Canary{}, Name: ApexIndex, Values: serviceNames, InNamespace: true},
		{Of: &v1beta1.Canary{}, Name: IngressIndex, Values: ingressNames, InNamespace: true},
	}
}

// workloadNames are the values of TargetIndex for a Canary: the target of its spec, and that of which it made its primary.
// The names of primaries follow from them: see heads.
func workloadNames(o client.Object) []string {
	c := o.(*v1beta1.Canary)
	names := []string{c.Spec.TargetRef.Name}
	if held := recorded(c); held != nil && held.Spec.TargetRef.Name != names[0] {
		names = append(names, held.Spec.TargetRef.Name)
	}
	return names
}

// serviceNames are the values of ApexIndex for a Canary. The names of the other Services follow from them: see heads.
func serviceNames(o client.Object) []string {
	c := o.(*v1beta1.Canary)
	apex, _, _ := c.ServiceNames()
	names := []string{apex}
	if held := recorded(c); held != nil {
		if apex, _, _ := held.ServiceNames(); apex != names[0] {
			names = append(names, apex)
		}
	}
	return names
}

// heads are the values by which an index has the Canaries that refer to a name. An entry for each name that a Canary has
// would weigh as much as the Canary.
func heads(index, name string) []string {
	of := &v1beta1.Canary{}
	var primary, canary string
	out := []string{name}
	switch index {
	case TargetIndex:
		primary = of.PrimaryName()
	case ApexIndex:
		_, primary, canary = of.ServiceNames()
	default:
	}
	for _, end := range []string{primary, canary} {
		if head, ok := strings.CutSuffix(name, end); ok && end != "" && head != "" {
			out = append(out, head)
		}
	}
	return out
}

// ingressNames are the values of IngressIndex for a Canary: that of the user's, and of its canary.
func ingressNames(o client.Object) []string {
	ref := o.(*v1beta1.Canary).Spec.IngressRef
	if ref == nil {
		return nil
	}
	return []string{ref.Name, ref.Name + "-canary"}
}

// recorded is a Canary with the names that its status has, nil where that has none.
func recorded(c *v1beta1.Canary) *v1beta1.Canary {
	is := c.Status.Identity
	if is == nil {
		return nil
	}
	out := &v1beta1.Canary{}
	out.Spec.TargetRef.Name, out.Spec.Service.Name = is.TargetName, is.Apex
	return out
}

// mostNames bounds the memory of Canaries; there is one entry for each Deployment and
// Service that has had an event.
const mostNames = 50_000

// Canaries finds the Canaries that refer to a name. It remembers them until one comes,
// goes or changes its spec, and is safe for concurrent use.
type Canaries struct {
	reader client.Reader

	mu      sync.Mutex
	watched bool // Changed is called for each such event
	epoch   int
	byName  map[nameKey][]Referrer
}

// nameKey is a hash of an index, a namespace and a name, which is another in each process: what is remembered of most names is that
// nobody refers to them, which is less than the name.
type nameKey [2]uint64

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func keyOf(index, namespace, name string) nameKey {
	of := [3]string{index, namespace, name}
	return nameKey{maphash.Comparable(seeds[0], of), maphash.Comparable(seeds[1], of)}
}

// Referrer is as much of a Canary as is needed of one that refers to a name.
type Referrer struct {
	Name    string
	Created metav1.Time
	// Holds is true for one whose status says that it has what has this name.
	Holds bool
}

// Precedes tells which of two Canaries keeps what both refer to: the one that has it, else
// the older one.
func (a Referrer) Precedes(b Referrer) bool {
	if a.Holds != b.Holds {
		return a.Holds
	}
	if a.Created.Equal(&b.Created) {
		return a.Name < b.Name
	}
	return a.Created.Before(&b.Created)
}

// NewCanaries reads from a cache that has the indexes by which they are looked for.
func NewCanaries(reader client.Reader) *Canaries { return &Canaries{reader: reader} }

// Watched says that Changed will be called for every change from now on.
func (m *Canaries) Watched() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watched = true
}

// Changed says that a Canary came, went or changed its spec.
func (m *Canaries) Changed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	clear(m.byName)
}

// now is the epoch, which ends with each change.
func (m *Canaries) now() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.epoch
}

func (m *Canaries) recall(key nameKey) (known []Referrer, ok bool, epoch int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok = m.byName[key]
	return known, ok, m.epoch
}

// remember keeps what was read since the epoch began.
func (m *Canaries) remember(key nameKey, found []Referrer, epoch int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.watched || m.epoch != epoch {
		return
	}
	if m.byName == nil || len(m.byName) >= mostNames {
		m.byName = map[nameKey][]Referrer{}
	}
	m.byName[key] = found
}

// Of finds the Canaries that an index has for a name.
func (m *Canaries) Of(ctx context.Context, index, namespace, name string) ([]Referrer, error) {
	key := keyOf(index, namespace, name)
	known, ok, epoch := m.recall(key)
	if ok {
		return known, nil
	}
	var found []Referrer
	for _, head := range heads(index, name) {
		var list v1beta1.CanaryList
		err := m.reader.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{index: head}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, fmt.Errorf("list Canaries: %w", err)
		}
		for i := range list.Items {
			c := &list.Items[i]
			if !slices.ContainsFunc(found, func(r Referrer) bool { return r.Name == c.Name }) {
				found = append(found, Referrer{Name: c.Name, Created: c.CreationTimestamp, Holds: holds(c, index, name)})
			}
		}
	}
	m.remember(key, found, epoch)
	return found, nil
}

// holds tells whether the status of a Canary says that it has what has a name.
func holds(c *v1beta1.Canary, index, name string) bool {
	held := recorded(c)
	if held == nil {
		return false
	}
	if index == TargetIndex {
		return name == held.Spec.TargetRef.Name || name == held.PrimaryName()
	}
	apex, primary, canary := held.ServiceNames()
	return name == apex || name == primary || name == canary
}

// Requests brings the Canaries that an index has for a name.
func (m *Canaries) Requests(ctx context.Context, index, namespace, name string) []reconcile.Request {
	found, err := m.Of(ctx, index, namespace, name)
	if err != nil {
		log.FromContext(ctx).Error(err, "Finding the Canaries of an object", "index", index, "namespace", namespace, "name", name)
		return nil
	}
	out := make([]reconcile.Request, len(found))
	for i := range found {
		out[i].NamespacedName = types.NamespacedName{Namespace: namespace, Name: found[i].Name}
	}
	return out
}

// ByName finds the Canaries that an index has for the name of an object.
func (m *Canaries) ByName(index string) handler.MapFunc {
	return func(ctx context.Context, o client.Object) []reconcile.Request {
		return m.Requests(ctx, index, o.GetNamespace(), o.GetName())
	}
}

// Siblings finds the Canaries that name the same target or services as one
// that came or went: what was a conflict may be none now.
func (m *Canaries) Siblings(ctx context.Context, o client.Object) []reconcile.Request {
	m.Changed()
	c := o.(*v1beta1.Canary)
	apex, _, _ := c.ServiceNames()
	return append(m.Requests(ctx, TargetIndex, c.Namespace, c.Spec.TargetRef.Name), m.Requests(ctx, ApexIndex, c.Namespace, apex)...)
}
