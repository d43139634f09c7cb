package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/view"
)

// verb is a command that asks for an action.
type verb struct {
	name   string
	action v1beta1.ActionType
	short  string
	// needsReason is true where it is to be said why.
	needsReason bool
}

var verbs = []verb{
	{name: "promote", action: v1beta1.ActionPromote, short: "Promote the canary now, without the remaining steps and checks"},
	{name: "pause", action: v1beta1.ActionPause, short: "Hold a release at the step where it is"},
	{name: "resume", action: v1beta1.ActionResume, short: "Go on with what was paused"},
	{name: "abort", action: v1beta1.ActionAbort, short: "Roll a release back now", needsReason: true},
	{name: "retry", action: v1beta1.ActionRetry, short: "Analyse a revision that has failed once more"},
	{name: "approve", action: v1beta1.ActionApprove, short: "Open the gate that a release waits at, whatever its hooks answer"},
	{name: "advance", action: v1beta1.ActionAdvance, short: "End the present step now, without its checks"},
}

// actOptions are the flags of a verb.
type actOptions struct {
	reason   string
	revision string
	selector string
	yes      bool
	wait     bool
	timeout  time.Duration
	// to is the revision to go back to, for a rollback.
	to string
}

// actTimeout is how long is waited for the operator where nothing else is said.
const actTimeout = 30 * time.Second

func newActions(a *app) []*cobra.Command {
	out := make([]*cobra.Command, 0, len(verbs))
	for _, v := range verbs {
		out = append(out, newAction(a, v))
	}
	return out
}

func newAction(a *app, v verb) *cobra.Command {
	o := actOptions{}
	c := &cobra.Command{
		Use:   v.name + " NAME... | -l SELECTOR",
		Short: v.short,
		Long: v.short + `.

It creates a CanaryAction for the revision that the release is about, so that it is refused where another one has begun
meanwhile, waits until the operator has done or refused it, and prints what came of it:

  0  it was done
  1  an error, as a missing right
  3  nobody has acted on it within --timeout; it still waits
  5  the operator has refused it`,
		Example: fmt.Sprintf(`  kubectl sluice %[1]s podinfo -n test --reason="errors in the checkout"
  kubectl sluice %[1]s -l team=web`, v.name),
		RunE: func(cmd *cobra.Command, args []string) error { return runAct(cmd.Context(), a, v, args, o) },
	}
	c.Flags().StringVar(&o.reason, "reason", "", "why, for people to read, at most 300 characters")
	c.Flags().StringVar(&o.revision, "revision", "", "the only revision that is meant; the present one when it is empty")
	c.Flags().StringVarP(&o.selector, "selector", "l", "", "labels of the Canaries that are meant, of all namespaces unless -n names one")
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "ask no question")
	c.Flags().BoolVar(&o.wait, "wait", true, "wait until it is done or refused")
	c.Flags().DurationVar(&o.timeout, "timeout", actTimeout, "how long to wait at the most")
	return c
}

func (o *actOptions) check(names []string) error {
	switch {
	case len(names) == 0 && o.selector == "":
		return errors.New("name a Canary, or choose some with -l")
	case len(names) > 0 && o.selector != "":
		return errors.New("name Canaries or choose them with -l, not both")
	case o.revision != "" && len(names) != 1:
		return errors.New("--revision is for one Canary")
	case len([]rune(o.reason)) > 300:
		return errors.New("--reason: more than 300 characters")
	}
	return nil
}

func runAct(ctx context.Context, a *app, v verb, names []string, o actOptions) error {
	if err := o.check(names); err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	meant, err := meant(ctx, a, c, v, names, o.selector)
	if err != nil || len(meant) == 0 {
		return err
	}
	if err := a.complete(v, meant, &o); err != nil {
		return err
	}
	who := c.whoami(ctx)
	var failed error
	for _, canary := range meant {
		if err := actOn(ctx, a, c, v, canary, who, o); err != nil {
			if len(meant) == 1 {
				return err
			}
			fmt.Fprintf(a.ErrOut, "error: %s/%s: %v\n", canary.Namespace, canary.Name, err)
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		// The status is that of the first, as where there is only one.
		status := &statusError{status: exitError}
		errors.As(failed, &status)
		return &statusError{status: status.status}
	}
	return nil
}

// meant are the Canaries that are named or chosen. Of the chosen ones those are passed over where the action would be
// refused.
func meant(ctx context.Context, a *app, c *connection, v verb, names []string, selector string) ([]*v1beta1.Canary, error) {
	var out []*v1beta1.Canary
	for _, name := range names {
		canary, err := c.canary(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, canary)
	}
	if selector == "" {
		return out, nil
	}
	options, err := choose(c, selector)
	if err != nil {
		return nil, err
	}
	all, err := a.canaries(ctx, c, options)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if slices.Contains(view.Possible(&all[i]), v.action) {
			out = append(out, &all[i])
		}
	}
	if len(out) < len(all) || len(out) == 0 {
		fmt.Fprintf(a.ErrOut, "%d of %d Canaries are in a state in which %s is possible.\n", len(out), len(all), v.name)
	}
	return out, nil
}

// complete asks for what the command line does not say.
func (a *app) complete(v verb, meant []*v1beta1.Canary, o *actOptions) error {
	in := bufio.NewReader(a.In)
	if o.selector != "" && !o.yes {
		if !isTerminal(a.In) {
			return fmt.Errorf("%s is asked for of %d Canaries; confirm it with --yes", v.name, len(meant))
		}
		for _, c := range meant {
			fmt.Fprintf(a.ErrOut, "  %s/%s\n", c.Namespace, c.Name)
		}
		answer, err := a.prompt(in, fmt.Sprintf("%s all %d? [y/N] ", v.name, len(meant)))
		if err != nil {
			return err
		}
		if !slices.Contains([]string{"y", "yes"}, strings.ToLower(answer)) {
			return errors.New("nothing was done")
		}
	}
	if !v.needsReason || o.reason != "" {
		return nil
	}
	if !isTerminal(a.In) {
		return fmt.Errorf("say why with --reason, for those who read the events after a %s", v.name)
	}
	answer, err := a.prompt(in, "Why? ")
	if err == nil && answer == "" {
		err = errors.New("nothing was done: no reason was given")
	}
	o.reason = answer
	return err
}

func (a *app) prompt(in *bufio.Reader, question string) (string, error) {
	fmt.Fprint(a.ErrOut, question)
	answer, err := in.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("nothing was done: %w", err)
	}
	return strings.TrimSpace(answer), nil
}

// actOn asks for an action on one Canary.
func actOn(ctx context.Context, a *app, c *connection, v verb, canary *v1beta1.Canary, who string, o actOptions) error {
	revision := o.revision
	if revision == "" {
		revision = canary.Status.LastAppliedSpec
	}
	action := v1alpha1.NewCanaryAction(canary, v1alpha1.CanaryActionSpec{
		Action: v.action, Reason: o.reason, Revision: revision, RequestedBy: who, ToRevision: o.to,
	})
	if err := c.request(ctx, v.name, action); err != nil {
		return err
	}
	if !o.wait {
		fmt.Fprintf(a.Out, "canaryaction.sluice.dev/%s created\n", action.Name)
		return nil
	}
	is, err := ended(ctx, a, c, canary, action, o.timeout)
	if err == nil {
		fmt.Fprintf(a.Out, "%s/%s: %s\n", canary.Namespace, canary.Name, v1beta1.OneLine(is.Status.Message, 4096))
	}
	return err
}

// request creates an action, and says which right is missing for it.
func (c *connection) request(ctx context.Context, verb string, action *v1alpha1.CanaryAction) error {
	err := c.Create(ctx, action)
	of := action.Namespace + "/" + action.Spec.Canary
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%s %s: %w (the role that the chart has for it is bound with: kubectl -n %s create rolebinding NAME --clusterrole=sluice-actions --user=%s)",
			verb, of, err, action.Namespace, action.Spec.RequestedBy)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, of, err)
	}
	return nil
}

// ended waits until an action is done, and gives it as it is then. That it was refused is an error.
func ended(ctx context.Context, a *app, c *connection, canary *v1beta1.Canary, action *v1alpha1.CanaryAction, timeout time.Duration) (done *v1alpha1.CanaryAction, err error) {
	waitCtx, stop := a.withTimeout(ctx, timeout)
	defer stop()
	var result error
	f := follower[*v1alpha1.CanaryAction]{
		client: c, clock: a.Clock, list: func() client.ObjectList { return &v1alpha1.CanaryActionList{} },
		options: []client.ListOption{client.InNamespace(action.Namespace), client.MatchingFields{"metadata.name": action.Name}},
		trouble: a.silent,
		each: func(is *v1alpha1.CanaryAction, deleted bool) (bool, error) {
			switch {
			case deleted:
				result = fmt.Errorf("CanaryAction %s was deleted before it was acted on", is.Name)
			case is.Status.Phase == v1alpha1.ActionDone:
				done = is
			case is.Status.Phase == v1alpha1.ActionRefused:
				result = &statusError{exitRefused, errors.New("refused: " + v1beta1.OneLine(is.Status.Message, 4096))}
			default:
				return false, nil
			}
			return true, nil
		},
	}
	err = f.run(waitCtx)
	if err != nil && ctx.Err() == nil && waitCtx.Err() != nil {
		return nil, &statusError{int(view.TimedOut), fmt.Errorf("nobody has acted on it within %s, and it still waits: %s; take it back with: kubectl -n %s delete canaryaction %s",
			timeout, whyPending(ctx, a, c, canary), action.Namespace, action.Name)}
	}
	return done, errors.Join(err, result)
}

// whyPending says what an action may wait for.
func whyPending(ctx context.Context, a *app, c *connection, canary *v1beta1.Canary) string {
	now := &v1beta1.Canary{}
	if err := c.Get(ctx, client.ObjectKeyFromObject(canary), now); err != nil {
		return err.Error()
	}
	r := view.Of(view.Input{Canary: now, Now: a.Clock.Now()})
	if r.State == view.Stalled || r.State == view.Suspended {
		return "the Canary is " + string(r.State) + ": " + v1beta1.OneLine(r.Message, 1000)
	}
	return "is the operator running?"
}
