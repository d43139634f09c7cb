// Package workload builds the objects that stand beside a target: its primary
// copy and the Services in front of both. It is pure: it reads objects and
// returns objects.
package workload

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// RevisionAnnotation is on a primary and says which revision of the target it
// is a copy of.
const RevisionAnnotation = "sluice.dev/revision"

// revisionFormat names the way revisions are computed. It changes with
// whatever would give another hash for the same template, so that an upgrade
// of the operator is not taken for a change of the target.
const revisionFormat = "s1"

// Revision is a short hash of a pod template as the API server has it, prefixed
// with its format.
func Revision(template *corev1.PodTemplateSpec) (string, error) {
	// Maps are sorted by encoding/json, so the same template always gives the
	// same bytes.
	raw, err := json.Marshal(template)
	if err != nil {
		return "", fmt.Errorf("hash of the pod template: %w", err)
	}
	sum := sha256.Sum256(raw)
	return revisionFormat + "-" + hex.EncodeToString(sum[:6]), nil
}

// PrimaryRevision is the revision that a primary is a copy of. A primary
// without the annotation, as Flagger leaves it, is compared with what a copy of
// the target would be: where they are alike it is the target's revision, else
// it is unknown and empty.
func PrimaryRevision(canary *v1beta1.Canary, target, primary *appsv1.Deployment, targetRevision string, o Options) string {
	if revision, ok := primary.Annotations[RevisionAnnotation]; ok {
		return revision
	}
	copied, err := Primary(canary, target, primary, targetRevision, o)
	if err != nil {
		return ""
	}
	if equality.Semantic.DeepEqual(copied.Spec.Template.Spec, primary.Spec.Template.Spec) {
		return targetRevision
	}
	return ""
}

// Images lists the images of a pod template without their registries, for
// people to read.
func Images(template *corev1.PodTemplateSpec) string {
	names := make([]string, 0, len(template.Spec.Containers))
	for _, c := range template.Spec.Containers {
		names = append(names, c.Image[strings.LastIndex(c.Image, "/")+1:])
	}
	return strings.Join(names, ", ")
}
