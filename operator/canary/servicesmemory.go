package canary

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// knownServices are the intents for the Services of a Canary in a state of all
// that they are made from.
type knownServices struct {
	madeFrom servicesOf
	live     [3]string // versions of those that are there, in the order of the intents
	intents  workload.Services
	inSync   bool // in this state they were found to be what is there
}

// servicesOf is the state of all that intents for Services are made from, but for the
// Services that are there.
type servicesOf struct {
	canary, target, primary stateOf
	targetServes            bool
}

func (w *world) servicesOf() servicesOf {
	return servicesOf{
		canary: stateOfObject(w.Canary), target: stateOfObject(w.target), primary: stateOfObject(w.primary),
		targetServes: workload.TargetServes(w.Canary),
	}
}

func (s servicesOf) same(other servicesOf) bool {
	return s.canary.same(other.canary) && s.target.same(other.target) && s.primary.same(other.primary) &&
		s.targetServes == other.targetServes
}

// stateOf is a state of an object, its status aside.
type stateOf struct {
	uid                 types.UID
	version             string
	labels, annotations map[string]string
}

// stateOfObject is the state of an object, empty for nil.
func stateOfObject(o client.Object) stateOf {
	if o == nil {
		return stateOf{}
	}
	return stateOf{o.GetUID(), workload.Version(o), o.GetLabels(), o.GetAnnotations()}
}

func (s stateOf) same(other stateOf) bool {
	return s.uid == other.uid && s.version == other.version && maps.Equal(s.labels, other.labels) && maps.Equal(s.annotations, other.annotations)
}

// versionsOf are those of Services, "" for one that is not there.
func versionsOf(live []*corev1.Service) [3]string {
	var out [3]string
	for i, s := range live {
		if s != nil {
			out[i] = string(s.UID) + "@" + s.ResourceVersion
		}
	}
	return out
}

// services gives what is known of the Services of a Canary that are made from this.
func (m *memory) services(c *v1beta1.Canary, from servicesOf) (knownServices, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entry := m.byID[client.ObjectKeyFromObject(c)]
	if entry == nil || entry.uid != c.UID || entry.services == nil {
		return knownServices{}, false
	}
	known := *entry.services
	return known, known.madeFrom.same(from)
}

// learn remembers the intents for Services; nil forgets them.
func (m *memory) learn(c *v1beta1.Canary, services *knownServices) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(c).services = services
}
