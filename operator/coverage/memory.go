package coverage

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
)

// assessed is the assessment of a Canary's coverage in a state of all that it
// is made from.
type assessed struct {
	key assessedKey
	Assessment
}

// assessedKey says which state of a Canary, and of what selects pods, an
// assessment is of. The zero value is none.
type assessedKey struct {
	generation int64 // of the Canary
	label      workload.Label
	pods       []map[string]string // labels of the target's and the primary's
	apex       string              // version
	reach      reachState
}

func keyOfAssessment(c *v1beta1.Canary, of world.Objects, label workload.Label, apex *corev1.Service, reach reachState) assessedKey {
	key := assessedKey{
		generation: c.Generation, label: label,
		pods: []map[string]string{workload.Template(of.TargetObject).Labels}, reach: reach,
	}
	if of.PrimaryObject != nil {
		key.pods = append(key.pods, workload.Template(of.PrimaryObject).Labels)
	}
	if apex != nil {
		key.apex = apex.ResourceVersion
	}
	return key
}

func (k assessedKey) same(other assessedKey) bool {
	return k.generation == other.generation && k.label == other.label &&
		k.apex == other.apex && k.reach == other.reach && slices.EqualFunc(k.pods, other.pods, maps.Equal)
}

// reachState counts what has happened to the objects that may select in a
// namespace.
type reachState struct{ here, everywhere, kinds int }

// changes counts changes of what selects pods for each namespace. It is safe for
// concurrent use.
type changes struct {
	mu         sync.Mutex
	complete   bool // every change is counted
	everywhere int
	namespaces map[string]int
}

// count counts a change of an object that reaches these namespaces.
func (c *changes) count(reach []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, namespace := range reach {
		if namespace == Everywhere {
			c.everywhere++
			continue
		}
		if c.namespaces == nil {
			c.namespaces = map[string]int{}
		}
		c.namespaces[namespace]++
	}
}

// counted says that every change is counted from now on.
func (c *changes) counted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete = true
}

// changed counts a change of an object.
func (k *Keeper) changed(o *unstructured.Unstructured) { k.changes.count(Reach(o, k.RootNamespace)) }

// state is that of a namespace. It must be taken before the objects are
// read, and is false where not every change is counted.
func (k *Keeper) state(namespace string) (reachState, bool) {
	kinds := len(k.watched.read())
	c := &k.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	return reachState{here: c.namespaces[namespace], everywhere: c.everywhere, kinds: kinds}, c.complete
}

// recall gives the last assessment of a Canary, false if it is of another state.
func (k *Keeper) recall(c *v1beta1.Canary, key assessedKey) (Assessment, bool) {
	last, ok := k.memory.Get(c)
	if !ok || !last.key.same(key) {
		return Assessment{}, false
	}
	return last.Assessment, true
}

// Forget drops what is remembered of a Canary that is gone.
func (k *Keeper) Forget(key types.NamespacedName) {
	k.memory.Forget(key)
	k.subjects.forget(key)
}
