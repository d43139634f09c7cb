package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/view"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// numberAnnotation is the Deployment controller's count of the templates of a Deployment.
const numberAnnotation = "deployment.kubernetes.io/revision"

// historyOutput is a history for programs.
type historyOutput struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Items      []view.Past `json:"items"`
}

func newHistory(a *app) *cobra.Command {
	output := ""
	c := &cobra.Command{
		Use:   "history NAME",
		Short: "Show the last release and what was promoted before",
		Long: `Show the last release, and the revisions that the primary had before: those of which Kubernetes keeps a ReplicaSet,
ten unless spec.revisionHistoryLimit of the target says otherwise. Nothing is stored for it beside them.`,
		Example: "  kubectl sluice history podinfo -n test",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return runHistory(cmd.Context(), a, args[0], output) },
	}
	c.Flags().StringVarP(&output, "output", "o", outputTable, "table, json or yaml")
	return c
}

func runHistory(ctx context.Context, a *app, name, output string) error {
	screen, err := a.screen(unlimited)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	r, err := a.release(ctx, c, name)
	if err != nil {
		return err
	}
	promoted, err := promoted(ctx, a, c, name)
	if err != nil {
		return err
	}
	all := view.History(r, promoted)
	switch output {
	case outputTable:
		_, err = io.WriteString(a.Out, screen.Past(all))
		return err
	case outputJSON, outputYAML:
		return encode(a.Out, output, historyOutput{outputVersion, "History", all})
	default:
		return fmt.Errorf("--output: %q is none of table, json, yaml", output)
	}
}

// promoted are the revisions of which the primary has a ReplicaSet, the newest first.
func promoted(ctx context.Context, a *app, c *connection, name string) ([]view.Past, error) {
	canary, err := c.canary(ctx, name)
	if err != nil {
		return nil, err
	}
	sets, err := c.replicaSets(ctx, canary, canary.PrimaryName())
	if err != nil {
		return nil, err
	}
	var out []view.Past
	for i := range sets {
		revision := sets[i].Annotations[workload.RevisionAnnotation]
		if revision == "" {
			continue
		}
		created := sets[i].CreationTimestamp
		out = append(out, view.Past{Revision: revision, Images: workload.Images(withTemplate(&appsv1.Deployment{}, &sets[i])), First: &created})
	}
	return out, nil
}

// replicaSets are those of a Deployment of a Canary, the newest first; none for other kinds.
func (c *connection) replicaSets(ctx context.Context, of *v1beta1.Canary, name string) ([]appsv1.ReplicaSet, error) {
	o, err := c.object(ctx, of, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	d, ok := o.(*appsv1.Deployment)
	if !ok || d == nil {
		return nil, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector of %s: %w", name, err)
	}
	var list appsv1.ReplicaSetList
	if err := c.List(ctx, &list, client.InNamespace(of.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("list ReplicaSets of %s: %w", name, err)
	}
	out := slices.DeleteFunc(list.Items, func(s appsv1.ReplicaSet) bool { return !metav1.IsControlledBy(&s, d) })
	slices.SortFunc(out, func(a, b appsv1.ReplicaSet) int { return cmp.Compare(number(&b), number(&a)) })
	return out, nil
}

// number is a ReplicaSet's place in the history of its Deployment, 0 for none.
func number(s *appsv1.ReplicaSet) int {
	n, err := strconv.Atoi(s.Annotations[numberAnnotation])
	if err != nil {
		return 0
	}
	return n
}

// withTemplate is a Deployment with the pod template of a ReplicaSet, as its user wrote it.
func withTemplate(d *appsv1.Deployment, s *appsv1.ReplicaSet) *appsv1.Deployment {
	out := d.DeepCopy()
	out.Spec.Template = *s.Spec.Template.DeepCopy()
	delete(out.Spec.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return out
}

type undoOptions struct {
	to    string
	force bool
}

func newUndo(a *app) *cobra.Command {
	o := undoOptions{}
	c := &cobra.Command{
		Use:   "undo NAME",
		Short: "Set the target back to an earlier revision, which is released as any other",
		Long: `Set a Deployment back to the pod template of an earlier revision: what the primary runs, where a release is under way or
has failed, which needs no analysis; else the one that was promoted before, which is analysed as any other release. Where
there is no time for that: undo, and then promote.

Where a tool has the target in Git it would put it forward again: revert it there. It is refused without --force.`,
		Example: `  kubectl sluice undo podinfo -n test
  kubectl sluice undo podinfo -n test --to=s2-1f2e3d4c5b6a`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runUndo(cmd.Context(), a, args[0], o) },
	}
	c.Flags().StringVar(&o.to, "to", "", "the revision, as in history")
	c.Flags().BoolVar(&o.force, "force", false, "also where the target seems to be in Git")
	return c
}

func runUndo(ctx context.Context, a *app, name string, o undoOptions) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	canary, err := c.canary(ctx, name)
	if err != nil {
		return err
	}
	target, err := c.object(ctx, canary, canary.Spec.TargetRef.Name)
	if err != nil {
		return fmt.Errorf("read %s: %w", canary.TargetName(), err)
	}
	d, ok := target.(*appsv1.Deployment)
	if !ok {
		return fmt.Errorf("undo is for Deployments; for %s there is kubectl rollout undo", canary.TargetName())
	}
	if tool := keeper(d); tool != "" && !o.force {
		return fmt.Errorf("%s is kept by %s, which would put it forward again: revert it in Git, or use --force", canary.TargetName(), tool)
	}
	to := o.to
	if to == "" {
		if to, err = before(ctx, a, c, canary, d); err != nil {
			return err
		}
	}
	next, err := templateOf(ctx, a, c, canary, d, to)
	if err != nil {
		return err
	}
	if err := c.Patch(ctx, next, client.MergeFromWithOptions(d, client.MergeFromWithOptimisticLock{})); err != nil {
		if apierrors.IsConflict(err) {
			return errors.New("somebody has changed the target meanwhile; look at it and try again")
		}
		return fmt.Errorf("set %s back: %w", canary.TargetName(), err)
	}
	fmt.Fprintf(a.Out, "%s is set back to %s (%s -> %s); see it through with: kubectl sluice status %s -n %s\n",
		canary.TargetName(), to, workload.Images(d), workload.Images(next), canary.Name, canary.Namespace)
	return nil
}

// before is the revision to go back to where none is named.
func before(ctx context.Context, a *app, c *connection, canary *v1beta1.Canary, d *appsv1.Deployment) (string, error) {
	is, err := workload.Revision(d)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", canary.TargetName(), err)
	}
	if was := canary.Status.LastPromotedSpec; was != "" && template(was) != is {
		return was, nil
	}
	promoted, err := promoted(ctx, a, c, canary.Name)
	if err != nil {
		return "", err
	}
	for _, p := range promoted {
		if template(p.Revision) != is {
			return p.Revision, nil
		}
	}
	return "", fmt.Errorf("nothing was promoted before %s that %s still has a ReplicaSet of", is, canary.PrimaryName())
}

// templateOf is the target with the pod template that it had at a revision.
func templateOf(ctx context.Context, a *app, c *connection, canary *v1beta1.Canary, d *appsv1.Deployment, to string) (*appsv1.Deployment, error) {
	sets, err := c.replicaSets(ctx, canary, d.Name)
	if err != nil {
		return nil, err
	}
	var known []string
	for i := range sets {
		past := withTemplate(d, &sets[i])
		revision, err := workload.Revision(past)
		if err != nil {
			return nil, fmt.Errorf("read ReplicaSet %s: %w", sets[i].Name, err)
		}
		if revision == template(to) {
			return past, nil
		}
		known = append(known, revision)
	}
	return nil, fmt.Errorf("%s has no ReplicaSet of revision %s; it has %s", canary.TargetName(), to, strings.Join(known, ", "))
}

// template is the part of a revision that is of the pod template, without that of its configs.
func template(revision string) string {
	parts := strings.SplitN(revision, "-", 3)
	return strings.Join(parts[:min(len(parts), 2)], "-")
}

// keeper is the tool that has an object in Git, empty for none that is known.
func keeper(o client.Object) string {
	for key, tool := range map[string]string{
		"argocd.argoproj.io/tracking-id": "Argo CD", "argocd.argoproj.io/instance": "Argo CD",
		"kustomize.toolkit.fluxcd.io/name": "Flux", "helm.toolkit.fluxcd.io/name": "Flux",
	} {
		if o.GetLabels()[key] != "" || o.GetAnnotations()[key] != "" {
			return tool
		}
	}
	return ""
}
