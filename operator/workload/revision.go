// Package workload builds the objects that stand beside a target: its primary
// copy and the Services in front of both. It is pure: it reads objects and
// returns objects.
package workload

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// RevisionAnnotation is on a primary and says which revision of the target it
// is a copy of.
const RevisionAnnotation = "sluice.dev/revision"

// revisionFormat names the way revisions are computed. It changes with
// whatever would give another hash for the same template, so that an upgrade
// of the operator is not taken for a change of the target.
const revisionFormat = "s2"

// Revision is a short hash of what a user can mean by a change of a workload,
// prefixed with its format. It is of the pod template without what Kubernetes
// defaults and what tools note for themselves; of a Service, it is of what
// its copies serve with.
func Revision(o client.Object) (string, error) {
	meant, err := meaning(o)
	if err != nil {
		return "", fmt.Errorf("revision of %s %s: %w", Kind(o), o.GetName(), err)
	}
	// Maps are sorted by encoding/json, so the same meaning always gives the
	// same bytes.
	raw, err := json.Marshal(meant)
	if err != nil {
		return "", fmt.Errorf("revision of %s %s: %w", Kind(o), o.GetName(), err)
	}
	sum := sha256.Sum256(raw)
	return revisionFormat + "-" + hex.EncodeToString(sum[:6]), nil
}

// PrimaryRevision is the revision that a primary is a copy of. One without the
// annotation, as Flagger leaves it, or with a revision of another format, as
// another version of the operator leaves it, is compared with what a copy of
// the target would be: where they mean the same it is the target's revision,
// else it is unknown and empty.
func PrimaryRevision(canary *v1beta1.Canary, target, primary client.Object, targetRevision string, o Options) string {
	if revision := primary.GetAnnotations()[RevisionAnnotation]; sameFormat(revision, revisionFormat+"-") {
		return revision
	}
	copied, err := Primary(canary, target, primary, targetRevision, o)
	if err != nil {
		return ""
	}
	name := target.GetName()
	if same, err := sameMeaning(unrenamed(copied, name, o), unrenamed(primary, name, o)); err != nil || !same {
		return ""
	}
	return targetRevision
}

// sameFormat tells whether two revisions can be compared.
func sameFormat(a, b string) bool {
	formatA, _, okA := strings.Cut(a, "-")
	formatB, _, okB := strings.Cut(b, "-")
	return okA && okB && formatA == formatB
}

func sameMeaning(a, b client.Object) (bool, error) {
	meantA, err := meaning(a)
	if err != nil {
		return false, err
	}
	meantB, err := meaning(b)
	return reflect.DeepEqual(meantA, meantB), err
}

// Images lists the images of a workload's containers without their registries,
// for people to read. A Service has what it selects.
func Images(o client.Object) string {
	if s, ok := o.(*corev1.Service); ok {
		return selected(s)
	}
	template := Template(o)
	names := make([]string, 0, len(template.Spec.Containers))
	for _, c := range template.Spec.Containers {
		names = append(names, c.Image[strings.LastIndex(c.Image, "/")+1:])
	}
	return strings.Join(names, ", ")
}

func selected(s *corev1.Service) string {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return s.Spec.ExternalName
	}
	pairs := make([]string, 0, len(s.Spec.Selector))
	for _, key := range slices.Sorted(maps.Keys(s.Spec.Selector)) {
		pairs = append(pairs, key+"="+s.Spec.Selector[key])
	}
	return strings.Join(pairs, ",")
}
