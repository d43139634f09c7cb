package services

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
)

// known is a state in which the Services of a Canary were looked at. The intents for them are built at each look, which takes
// as long as to decode them, and would weigh more than all else that is remembered of a Canary.
type known struct {
	of     state
	inSync bool // in this state they were found to be what is there
}

// state is a hash of all that intents for Services are made from, and of which of them are there.
type state [16]byte

// stateOf is the state of the Services of a Canary, of which some are there, nil for one that is not.
func stateOf(w *world.World, live []*corev1.Service) (s state) {
	sum := sha256.New()
	for _, o := range []client.Object{w.Canary, w.TargetObject, w.PrimaryObject} {
		addObject(sum, o)
	}
	fmt.Fprintf(sum, "%t;", workload.TargetServes(w.Canary))
	for _, o := range live {
		if o == nil {
			add(sum, "")
			continue
		}
		add(sum, string(o.UID))
		add(sum, o.ResourceVersion)
	}
	copy(s[:], sum.Sum(nil))
	return s
}

// addObject adds the state of an object, its status aside; nil for none.
func addObject(to hash.Hash, o client.Object) {
	if o == nil {
		add(to, "")
		return
	}
	add(to, string(o.GetUID()))
	add(to, workload.Version(o))
	for _, of := range []map[string]string{o.GetLabels(), o.GetAnnotations()} {
		fmt.Fprintf(to, "%d;", len(of))
		for _, key := range slices.Sorted(maps.Keys(of)) {
			add(to, key)
			add(to, of[key])
		}
	}
}

// add adds a text after its length, so that no two states give the same bytes.
func add(to hash.Hash, text string) { fmt.Fprintf(to, "%d:%s", len(text), text) }
