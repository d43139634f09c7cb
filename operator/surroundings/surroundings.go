// Package surroundings reads what there is to say of a Canary beside itself, with the rights of whoever looks.
package surroundings

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/templates"
	"github.com/sluice-delivery/sluice/operator/view"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// Unread says why something was left out; empty where it was not.
type Unread struct {
	Actions string `json:"actions,omitempty"`
	Events  string `json:"events,omitempty"`
	// History is what the primary ran before.
	History string `json:"history,omitempty"`
}

// Read reads actions, events, and the two workloads with their pods. What may not be read is left out and said so.
func Read(ctx context.Context, r client.Reader, of *v1beta1.Canary) (view.Input, Unread, error) {
	in, unread := view.Input{Canary: of}, Unread{}
	var actions v1alpha1.CanaryActionList
	err := r.List(ctx, &actions, client.InNamespace(of.Namespace))
	if unread.Actions, err = PassedOver(err); err != nil {
		return in, unread, fmt.Errorf("read CanaryActions: %w", err)
	}
	in.Actions = actions.Items
	var events corev1.EventList
	err = r.List(ctx, &events, client.InNamespace(of.Namespace),
		client.MatchingFields{"involvedObject.kind": "Canary", "involvedObject.name": of.Name})
	if unread.Events, err = PassedOver(err); err != nil {
		return in, unread, fmt.Errorf("read events: %w", err)
	}
	in.Events = events.Items
	if knative.Is(of) {
		in.Primary, in.Target = revisions(ctx, r, of)
		return in, unread, nil
	}
	in.Primary = Workload(ctx, r, of, of.PrimaryName())
	in.Target = Workload(ctx, r, of, of.Spec.TargetRef.Name)
	return in, unread, nil
}

// PassedOver is what whoever looks has no right to read, and kinds that are not served, in words.
func PassedOver(err error) (string, error) {
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return err.Error(), nil
	}
	return "", err
}

// Workload reads the target or the primary of a Canary, with its pods.
func Workload(ctx context.Context, r client.Reader, of *v1beta1.Canary, name string) view.Workload {
	o, err := Object(ctx, r, of, name)
	switch {
	case err != nil:
		return view.Workload{Unread: err.Error()}
	case o == nil:
		return view.Workload{}
	}
	out := view.Workload{Exists: true, Images: workload.Images(o), Replicas: workload.Replicas(o)}
	selector := workload.Selector(o)
	if selector == nil {
		return out
	}
	labels, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return view.Workload{Unread: err.Error()}
	}
	var pods corev1.PodList
	if err := r.List(ctx, &pods, client.InNamespace(of.Namespace), client.MatchingLabelsSelector{Selector: labels}); err != nil {
		out.Unread = err.Error()
		return out
	}
	out.Pods = pods.Items
	return out
}

// Object reads a workload of the kind of a Canary's target, nil if there is none. A Service of Knative is its own primary.
func Object(ctx context.Context, r client.Reader, of *v1beta1.Canary, name string) (client.Object, error) {
	o := workload.New(of.Spec.TargetRef.Kind)
	if knative.Is(of) {
		o, name = &knative.Service{}, of.Spec.TargetRef.Name
	}
	if o == nil {
		return nil, nil
	}
	if err := r.Get(ctx, client.ObjectKey{Namespace: of.Namespace, Name: name}, o); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return o, nil
}

// Promoted are the revisions of which Kubernetes keeps a pod template of the primary, the newest first.
func Promoted(ctx context.Context, r client.Reader, of *v1beta1.Canary) ([]view.Past, error) {
	if knative.Is(of) {
		return promotedRevisions(ctx, r, of)
	}
	primary, err := Object(ctx, r, of, of.PrimaryName())
	if err != nil || primary == nil {
		return nil, err
	}
	all, err := templates.Of(ctx, r, primary)
	if err != nil {
		return nil, err
	}
	var out []view.Past
	for i := range all {
		if revision := all[i].Revision; revision != "" {
			out = append(out, view.Past{Revision: revision, Images: workload.Images(all[i].With(primary)), First: &all[i].Created})
		}
	}
	return out, nil
}
