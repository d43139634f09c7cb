package canary

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// assessed is the assessment of a Canary's coverage in a state of all that it
// is made from.
type assessed struct {
	key assessedKey
	coverage.Assessment
}

// assessedKey says which state of a Canary, and of what selects pods, an
// assessment is of. The zero value is none.
type assessedKey struct {
	generation   int64 // of the Canary
	label, value string
	pods         []map[string]string // labels of the target's and the primary's
	apex         string              // version
	reach        reachState
}

func keyOfAssessment(w *world, label, value string, apex *corev1.Service, reach reachState) assessedKey {
	key := assessedKey{
		generation: w.Canary.Generation, label: label, value: value,
		pods: []map[string]string{workload.Template(w.target).Labels}, reach: reach,
	}
	if w.primary != nil {
		key.pods = append(key.pods, workload.Template(w.primary).Labels)
	}
	if apex != nil {
		key.apex = apex.ResourceVersion
	}
	return key
}

func (k assessedKey) same(other assessedKey) bool {
	return k.generation == other.generation && k.label == other.label && k.value == other.value &&
		k.apex == other.apex && k.reach == other.reach && slices.EqualFunc(k.pods, other.pods, maps.Equal)
}

// reachState counts what has happened to the objects that may select in a
// namespace.
type reachState struct{ here, everywhere, kinds int }

// reachStates counts changes of what selects pods for each namespace.
type reachStates struct {
	told       bool // every change is told
	everywhere int
	namespaces map[string]int
}

// changed counts a change of an object.
func (c *Coverage) changed(o *unstructured.Unstructured) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, namespace := range coverage.Reach(o, c.RootNamespace) {
		if namespace == coverage.Everywhere {
			c.states.everywhere++
			continue
		}
		if c.states.namespaces == nil {
			c.states.namespaces = map[string]int{}
		}
		c.states.namespaces[namespace]++
	}
}

// tell says that changed is called for every change from now on.
func (c *Coverage) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states.told = true
}

// state is that of a namespace. It must be asked for before the objects are
// read, and is false where nobody tells of changes.
func (c *Coverage) state(namespace string) (reachState, bool) {
	kinds := len(c.kinds())
	c.mu.Lock()
	defer c.mu.Unlock()
	return reachState{here: c.states.namespaces[namespace], everywhere: c.states.everywhere, kinds: kinds}, c.states.told
}

// assessed is the last assessment, false if it is of another state.
func (m *memory) assessed(c *v1beta1.Canary, key assessedKey) (coverage.Assessment, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entry := m.byID[client.ObjectKeyFromObject(c)]
	if entry == nil || entry.uid != c.UID || !entry.coverage.key.same(key) {
		return coverage.Assessment{}, false
	}
	return entry.coverage.Assessment, true
}

func (m *memory) assess(c *v1beta1.Canary, now assessed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(c).coverage = now
}
