package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/surroundings"
	"github.com/sluice-delivery/sluice/operator/templates"
	"github.com/sluice-delivery/sluice/operator/view"
	"github.com/sluice-delivery/sluice/operator/workload"
)

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
		Long: `Show the last release, and the revisions that the primary had before: those of which Kubernetes keeps the pod template in
a ReplicaSet or ControllerRevision, ten unless spec.revisionHistoryLimit of the target says otherwise. Nothing is stored for
it beside them. Of a Service of Knative they are the revisions that have served.`,
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
	canary, err := c.canary(ctx, name)
	if err != nil {
		return err
	}
	promoted, err := surroundings.Promoted(ctx, c, canary)
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

type undoOptions struct {
	to    string
	force bool
	now   bool
	act   actOptions
}

func newUndo(a *app) *cobra.Command {
	o := undoOptions{act: actOptions{wait: true}}
	c := &cobra.Command{
		Use:   "undo NAME",
		Short: "Go back to an earlier revision, by a release of it or at once",
		Long: `Set the target back to the pod template of an earlier revision: what the primary runs, where a release is under way or
has failed, which needs no analysis; else the one that was promoted before, which is analysed as any other release.

Where a tool has the target in Git it would put it forward again: revert it there. It is refused without --force.

With --now there is no analysis: the primary gets the template that it had at that revision at once, and the target is left
as it is, also in Git. What the target is counts as a release that has failed: it is not promoted again until it changes, or
somebody has it tried again. That creates a CanaryAction, and ends as the other commands that do:

  0  it was done
  1  an error, as a missing right
  3  nobody has acted on it within --timeout; it still waits
  5  the operator has refused it`,
		Example: `  kubectl sluice undo podinfo -n test
  kubectl sluice undo podinfo -n test --to=s2-1f2e3d4c5b6a
  kubectl sluice undo podinfo -n test --now --reason="the checkout fails"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runUndo(cmd.Context(), a, args[0], o) },
	}
	c.Flags().StringVar(&o.to, "to", "", "the revision, as in history")
	c.Flags().BoolVar(&o.force, "force", false, "also where the target seems to be in Git")
	c.Flags().BoolVar(&o.now, "now", false, "give the primary the revision at once, without an analysis")
	c.Flags().StringVar(&o.act.reason, "reason", "", "with --now: why, for people to read, at most 300 characters")
	c.Flags().DurationVar(&o.act.timeout, "timeout", actTimeout, "with --now: how long to wait at the most until it is done or refused")
	return c
}

func runUndo(ctx context.Context, a *app, name string, o undoOptions) error {
	if !o.now && o.act.reason != "" {
		return errors.New("--reason is for --now")
	}
	if err := o.act.check([]string{name}); err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	canary, err := c.canary(ctx, name)
	if err != nil {
		return err
	}
	if o.now {
		return undoNow(ctx, a, c, canary, o)
	}
	return undo(ctx, a, c, canary, o)
}

// rollback is the verb of undo --now.
var rollback = verb{name: "undo --now", action: v1beta1.ActionRollback, needsReason: true}

// undoNow has the primary go back to a revision that it had.
func undoNow(ctx context.Context, a *app, c *connection, canary *v1beta1.Canary, o undoOptions) error {
	if o.act.to = o.to; o.to == "" {
		if is := canary.Status.LastPromotedSpec; is != canary.Status.LastAppliedSpec {
			return fmt.Errorf("%s runs %s already, and the release of %s is not promoted; abort that where it is under way, or name with --to what to go back to",
				canary.PrimaryName(), is, canary.Status.LastAppliedSpec)
		}
		all, err := surroundings.Promoted(ctx, c, canary)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(p view.Past) bool { return p.Revision != canary.Status.LastPromotedSpec })
		if i < 0 {
			return fmt.Errorf("no template is kept of what %s ran before", canary.PrimaryName())
		}
		o.act.to = all[i].Revision
	}
	if err := a.complete(rollback, []*v1beta1.Canary{canary}, &o.act); err != nil {
		return err
	}
	return actOn(ctx, a, c, rollback, canary, c.whoami(ctx), o.act)
}

// undo sets the target back.
func undo(ctx context.Context, a *app, c *connection, canary *v1beta1.Canary, o undoOptions) error {
	target, err := c.object(ctx, canary, canary.Spec.TargetRef.Name)
	if err != nil {
		return fmt.Errorf("read %s: %w", canary.TargetName(), err)
	}
	if knative.Is(canary) {
		return fmt.Errorf("the template of %s is yours and Knative's: set it back as you have changed it; with --now an earlier revision has the requests at once", canary.TargetName())
	}
	if target == nil || workload.Template(target) == nil {
		return fmt.Errorf("nothing is kept of what %s was before; undo is for Deployments, DaemonSets and StatefulSets", canary.TargetName())
	}
	if tool := keeper(target); tool != "" && !o.force {
		return fmt.Errorf("%s is kept by %s, which would put it forward again: revert it in Git, or use --force; with --now the primary alone goes back", canary.TargetName(), tool)
	}
	to := o.to
	if to == "" {
		if to, err = before(ctx, c, canary, target); err != nil {
			return err
		}
	}
	next, err := templateOf(ctx, c, canary, target, to)
	if err != nil {
		return err
	}
	if err := c.Patch(ctx, next, client.MergeFromWithOptions(target, client.MergeFromWithOptimisticLock{})); err != nil {
		if apierrors.IsConflict(err) {
			return errors.New("somebody has changed the target meanwhile; look at it and try again")
		}
		return fmt.Errorf("set %s back: %w", canary.TargetName(), err)
	}
	fmt.Fprintf(a.Out, "%s is set back to %s (%s -> %s); see it through with: kubectl sluice status %s -n %s\n",
		canary.TargetName(), to, workload.Images(target), workload.Images(next), canary.Name, canary.Namespace)
	return nil
}

// before is the revision to go back to where none is named.
func before(ctx context.Context, c *connection, canary *v1beta1.Canary, target client.Object) (string, error) {
	is, err := workload.Revision(target)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", canary.TargetName(), err)
	}
	if was := canary.Status.LastPromotedSpec; was != "" && template(was) != is {
		return was, nil
	}
	all, err := surroundings.Promoted(ctx, c, canary)
	if err != nil {
		return "", err
	}
	for _, p := range all {
		if template(p.Revision) != is {
			return p.Revision, nil
		}
	}
	return "", fmt.Errorf("no template is kept of what %s ran before %s", canary.PrimaryName(), is)
}

// templateOf is the target with the pod template that it had at a revision.
func templateOf(ctx context.Context, c *connection, canary *v1beta1.Canary, target client.Object, to string) (client.Object, error) {
	all, err := templates.Of(ctx, c, target)
	if err != nil {
		return nil, err
	}
	var known []string
	for i := range all {
		past := all[i].With(target)
		revision, err := workload.Revision(past)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", all[i].Name, err)
		}
		if revision == template(to) {
			return past, nil
		}
		known = append(known, revision)
	}
	return nil, fmt.Errorf("no template is kept of revision %s of %s; there are those of %s", to, canary.TargetName(), strings.Join(known, ", "))
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
