package coverage

import (
	"cmp"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// subjects knows the Subject of each Canary as its last turn has found it, so that nothing is read of Canaries to find
// those whom an event concerns. One without any has had no turn with a target: its first will find what there is. It is
// safe for concurrent use; the zero value knows nothing.
type subjects struct {
	mu          sync.RWMutex
	byNamespace map[string]map[string]subject
}

// subject is a Subject without its owner, which would keep all of a Canary.
type subject struct {
	Subject

	uid types.UID
}

// put remembers the Subject of a Canary. It must be called before the objects are read by which the Canary is assessed,
// so that whoever changes one afterwards finds it.
func (s *subjects) put(c *v1beta1.Canary, of Subject) {
	of.Owner = ownership.Owner{}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byNamespace == nil {
		s.byNamespace = map[string]map[string]subject{}
	}
	if s.byNamespace[c.Namespace] == nil {
		s.byNamespace[c.Namespace] = map[string]subject{}
	}
	s.byNamespace[c.Namespace][c.Name] = subject{of, c.UID}
}

// owner is the Canary of a name as the owner of copies.
func (s subject) owner(name string) ownership.Owner {
	c := &v1beta1.Canary{}
	c.Namespace, c.Name, c.UID = s.Namespace, name, s.uid
	return ownership.For(c)
}

func (s *subjects) forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.byNamespace[key.Namespace]
	if delete(in, key.Name); len(in) == 0 {
		delete(s.byNamespace, key.Namespace)
	}
}

// concerned are the Canaries, in their order, for which an object that came, went or changed may change what covers their
// primaries. reach are the namespaces that it may select in.
func (s *subjects) concerned(o *unstructured.Unstructured, reach []string) (out []types.NamespacedName) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	concerns, isCopy := about(o), o.GetAnnotations()[CopyOfAnnotation] != ""
	look := func(namespace string) {
		for name, of := range s.byNamespace[namespace] {
			if isCopy { // nobody else asks whose it is
				of.Owner = of.owner(name)
			}
			if concerns(of.Subject) {
				out = append(out, types.NamespacedName{Namespace: namespace, Name: name})
			}
		}
	}
	if slices.Contains(reach, Everywhere) {
		for namespace := range s.byNamespace {
			look(namespace)
		}
	} else {
		for _, namespace := range reach {
			look(namespace)
		}
	}
	slices.SortFunc(out, func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}
