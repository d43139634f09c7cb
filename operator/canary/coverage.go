package canary

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// observeCoverage finds what selects the target's pods and not the primary's.
func (r *Reconciler) observeCoverage(ctx context.Context, w *world) error {
	copies := w.Canary.GetCoverageMode() == v1beta1.CoverageCopy
	if copies && (r.Coverage == nil || !r.Coverage.Copies) {
		return mistake(reasonInvalidSpec, "spec.coverage.mode: Copy is not allowed by the operator's -coverage; let it be Report, or start the operator with -coverage=copy and the rights for it")
	}
	if r.Coverage == nil || w.target == nil || workload.Template(w.target) == nil {
		return nil // a target of kind Service has no pods of its own
	}
	if copies && !w.guarded() && !r.Coverage.synced() {
		return fmt.Errorf("what selects pods by label is not read yet")
	}
	label, value, err := workload.SelectorLabel(w.target, r.Options)
	if err != nil {
		return nil //nolint:nilerr // it is the Mistake of observeServices
	}
	if w.coverage, err = r.assess(ctx, w, label, value); err != nil {
		return err
	}
	w.Coverage = told(w.coverage, copies)
	return nil
}

// assess finds the gaps, once for each state of what they depend on.
func (r *Reconciler) assess(ctx context.Context, w *world, label, value string) (coverage.Assessment, error) {
	name, _, _ := w.Canary.ServiceNames()
	apex, err := kube.Get[corev1.Service](ctx, r.Client, w.Canary.Namespace, name)
	if err != nil {
		return coverage.Assessment{}, err
	}
	state, told := r.Coverage.state(w.Canary.Namespace)
	key := keyOfAssessment(w, label, value, apex, state)
	if known, ok := r.memory.assessed(w.Canary, key); ok && told {
		return known, nil
	}
	subject, err := r.subject(w.Canary, w.target, w.primary)
	if err != nil {
		return coverage.Assessment{}, err
	}
	if apex != nil {
		maps.Copy(subject.ApexLabels, apex.Labels)
	}
	objects, err := r.Coverage.objects(ctx, r.Client, subject)
	if err != nil {
		return coverage.Assessment{}, err
	}
	found := coverage.Assess(subject, objects)
	r.memory.assess(w.Canary, assessed{key, found})
	return found, nil
}

// told is what people are told of an assessment.
func told(a coverage.Assessment, copies bool) *rollout.Coverage {
	out := &rollout.Coverage{}
	for _, g := range a.Gaps {
		switch {
		case copies && g.Copy != nil:
			out.Copied = append(out.Copied, g.What)
		case copies:
			out.Uncovered = append(out.Uncovered, g.What+": "+g.Why)
		default:
			out.Uncovered = append(out.Uncovered, g.What)
		}
	}
	return out
}

// guarded tells whether the primary already serves, so that nothing that
// guards it may hold up what moves traffic.
func (w *world) guarded() bool { return w.Canary.Status.LastPromotedSpec != "" }

// applyCoverage keeps the copies that the Canary asks for, and deletes those
// that it needs no more. New ones come before old ones go.
func (r *Reconciler) applyCoverage(ctx context.Context, w *world) error {
	if r.Coverage == nil || !r.Coverage.Copies || w.Coverage == nil {
		return nil
	}
	wanted := map[string]bool{}
	if w.Canary.GetCoverageMode() == v1beta1.CoverageCopy {
		for _, g := range w.coverage.Gaps {
			if g.Copy == nil {
				continue
			}
			wanted[g.Copy.GetKind()+" "+g.Copy.GetName()] = true
			var options []ssa.Option
			if !g.Native {
				options = append(options, ssa.ProtoJSON)
			}
			if err := r.Applier.Apply(ctx, g.Copy, options...); err != nil {
				return fmt.Errorf("keep the primary covered: %w", err)
			}
		}
	}
	for _, c := range w.coverage.Copies {
		if wanted[c.GetKind()+" "+c.GetName()] {
			continue
		}
		if err := r.Applier.Delete(ctx, c.DeepCopy()); err != nil {
			return fmt.Errorf("delete a copy that covers nothing: %w", err)
		}
	}
	return nil
}

// subject is a target and its primary as selectors see them. The error is that
// the target has no selector label.
func (r *Reconciler) subject(c *v1beta1.Canary, target, primary client.Object) (coverage.Subject, error) {
	label, value, err := workload.SelectorLabel(target, r.Options)
	if err != nil {
		return coverage.Subject{}, err
	}
	apex, primaryService, canaryService := c.ServiceNames()
	s := coverage.Subject{
		Namespace:     c.Namespace,
		Owner:         workload.Owner(c),
		Label:         label,
		Target:        value,
		Primary:       workload.PrimaryLabelValue(value),
		Pods:          []map[string]string{workload.Template(target).Labels},
		Apex:          apex,
		ApexLabels:    map[string]string{},
		Services:      []string{apex, primaryService, canaryService},
		RootNamespace: r.Coverage.RootNamespace,
	}
	if primary != nil {
		s.Pods = append(s.Pods, workload.Template(primary).Labels)
	}
	return s, nil
}

// concerned are the Canaries for which an object that came, went or changed
// may change what covers their primaries.
func (r *Reconciler) concerned(ctx context.Context, o *unstructured.Unstructured) ([]client.ObjectKey, error) {
	var out []client.ObjectKey
	namespaces := coverage.Reach(o, r.Coverage.RootNamespace)
	if slices.Contains(namespaces, coverage.Everywhere) {
		namespaces = []string{""}
	}
	for _, namespace := range namespaces {
		var list v1beta1.CanaryList
		if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list Canaries: %w", err)
		}
		for i := range list.Items {
			is, err := r.isConcerned(ctx, &list.Items[i], o)
			if err != nil {
				return nil, err
			}
			if is {
				out = append(out, client.ObjectKeyFromObject(&list.Items[i]))
			}
		}
	}
	return out, nil
}

func (r *Reconciler) isConcerned(ctx context.Context, c *v1beta1.Canary, o *unstructured.Unstructured) (bool, error) {
	target, err := r.workload(ctx, c, c.Spec.TargetRef.Name)
	if target == nil || err != nil || workload.Template(target) == nil {
		return false, err
	}
	primary, err := r.workload(ctx, c, c.PrimaryName())
	if err != nil {
		return false, err
	}
	subject, err := r.subject(c, target, primary)
	if err != nil {
		return false, nil //nolint:nilerr // a target without selector label has no primary
	}
	apex, err := kube.Get[corev1.Service](ctx, r.Client, c.Namespace, subject.Apex)
	if err != nil {
		return false, err
	}
	if apex != nil {
		maps.Copy(subject.ApexLabels, apex.Labels)
	}
	return coverage.Concerns(subject, o), nil
}
