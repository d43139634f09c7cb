// Package templates reads the pod templates that a workload had before, as the workload's own controller keeps them: in
// ReplicaSets for a Deployment, and in ControllerRevisions for a DaemonSet and a StatefulSet. Nobody else stores any, so
// that a release costs no write for them, and Kubernetes removes what is too old.
package templates

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/workload"
)

// numberAnnotation is the Deployment controller's count of the templates of a Deployment.
const numberAnnotation = "deployment.kubernetes.io/revision"

// Template is a pod template that a workload has or had.
type Template struct {
	// Name is that of the object in which it is kept.
	Name string
	// Revision is that of the target of which the workload was a copy with it, where the workload is a primary.
	Revision string
	// Created is when the workload had it first.
	Created metav1.Time
	// Pods is the template as the workload's user wrote it.
	Pods corev1.PodTemplateSpec

	number int64
}

// With is a workload with the template in place of its own.
func (t *Template) With(o client.Object) client.Object {
	out := o.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy of one
	*workload.Template(out) = *t.Pods.DeepCopy()
	return out
}

// Of reads the templates of a workload, the one that it had last first; none for a kind that has none.
func Of(ctx context.Context, c client.Reader, o client.Object) ([]Template, error) {
	if workload.Template(o) == nil {
		return nil, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(workload.Selector(o))
	if err != nil {
		return nil, fmt.Errorf("selector of %s: %w", o.GetName(), err)
	}
	options := []client.ListOption{client.InNamespace(o.GetNamespace()), client.MatchingLabelsSelector{Selector: selector}}
	var out []Template
	switch workload.Kind(o) {
	case workload.KindDeployment:
		out, err = ofReplicaSets(ctx, c, o, options)
	case workload.KindDaemonSet, workload.KindStatefulSet:
		out, err = ofRevisions(ctx, c, o, options)
	default:
		return nil, nil
	}
	slices.SortStableFunc(out, func(a, b Template) int { return cmp.Compare(b.number, a.number) })
	return out, err
}

func ofReplicaSets(ctx context.Context, c client.Reader, o client.Object, options []client.ListOption) ([]Template, error) {
	var list appsv1.ReplicaSetList
	if err := c.List(ctx, &list, options...); err != nil {
		return nil, fmt.Errorf("list ReplicaSets of %s: %w", o.GetName(), err)
	}
	var out []Template
	for i := range list.Items {
		s := &list.Items[i]
		if !metav1.IsControlledBy(s, o) {
			continue
		}
		number, err := strconv.ParseInt(s.Annotations[numberAnnotation], 10, 64)
		if err != nil {
			number = 0 // the controller has not counted it yet
		}
		t := of(s, number)
		t.Pods = *s.Spec.Template.DeepCopy()
		delete(t.Pods.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
		out = append(out, t)
	}
	return out, nil
}

func ofRevisions(ctx context.Context, c client.Reader, o client.Object, options []client.ListOption) ([]Template, error) {
	var list appsv1.ControllerRevisionList
	if err := c.List(ctx, &list, options...); err != nil {
		return nil, fmt.Errorf("list ControllerRevisions of %s: %w", o.GetName(), err)
	}
	var out []Template
	for i := range list.Items {
		r := &list.Items[i]
		if !metav1.IsControlledBy(r, o) {
			continue
		}
		// It is a patch of the workload with the whole template.
		patch := struct {
			Spec struct {
				Template corev1.PodTemplateSpec `json:"template"`
			} `json:"spec"`
		}{}
		if err := json.Unmarshal(r.Data.Raw, &patch); err != nil {
			return nil, fmt.Errorf("read ControllerRevision %s: %w", r.Name, err)
		}
		t := of(r, r.Revision)
		t.Pods = patch.Spec.Template
		out = append(out, t)
	}
	return out, nil
}

func of(o client.Object, number int64) Template {
	return Template{Name: o.GetName(), Revision: o.GetAnnotations()[workload.RevisionAnnotation], Created: o.GetCreationTimestamp(), number: number}
}

// Find is the newest template of a revision, nil where there is none.
func Find(all []Template, revision string) *Template {
	i := slices.IndexFunc(all, func(t Template) bool { return t.Revision != "" && t.Revision == revision })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// Revisions are those of the templates, without repetitions and in their order.
func Revisions(all []Template) []string {
	var out []string
	for i := range all {
		if r := all[i].Revision; r != "" && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}
