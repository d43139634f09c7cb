package services

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
)

// known are the intents for the Services of a Canary in a state of all
// that they are made from.
type known struct {
	madeFrom origin
	live     [4]string // versions of those that are there, in the order of the intents
	intents  packed
	inSync   bool // in this state they were found to be what is there
}

// origin is the state of all that intents for Services are made from, but for the
// Services that are there.
type origin struct {
	canary, target, primary stateOf
	targetServes            bool
}

func originOf(w *world.World) origin {
	return origin{
		canary: stateOfObject(w.Canary), target: stateOfObject(w.TargetObject), primary: stateOfObject(w.PrimaryObject),
		targetServes: workload.TargetServes(w.Canary),
	}
}

func (s origin) same(other origin) bool {
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
func versionsOf(live []*corev1.Service) [4]string {
	var out [4]string
	for i, s := range live {
		if s != nil {
			out[i] = string(s.UID) + "@" + s.ResourceVersion
		}
	}
	return out
}
