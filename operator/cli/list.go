package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/policy"
	"github.com/sluice-delivery/sluice/operator/view"
)

// Values of -o.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputYAML  = "yaml"
	outputName  = "name"
)

// version of what is written for programs.
const (
	outputVersion = "cli.sluice.dev/v1"
	kindRelease   = "Release"
	kindList      = "ReleaseList"
)

// releaseOutput is a release for programs.
type releaseOutput struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	*view.Release
}

// listOutput is a list of releases for programs.
type listOutput struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Items      []*view.Release `json:"items"`
}

// listOptions are the flags of list.
type listOptions struct {
	selector string
	output   string
	watch    bool
	noHeader bool
	attend   bool
}

func newList(a *app) *cobra.Command {
	o := listOptions{}
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List releases in all namespaces, what needs attention first",
		Example: `  kubectl sluice list                    # all namespaces
  kubectl sluice list -n test            # one
  kubectl sluice list -l team=web -w     # as they change
  kubectl sluice list --needs-person -o name`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runList(cmd.Context(), a, o) },
	}
	c.Flags().StringVarP(&o.selector, "selector", "l", "", "labels of the Canaries")
	c.Flags().StringVarP(&o.output, "output", "o", outputTable, "table, json, yaml or name")
	c.Flags().BoolVarP(&o.watch, "watch", "w", false, "go on with a line, or a document, for each change")
	c.Flags().BoolVar(&o.noHeader, "no-headers", false, "leave the header of the table out")
	c.Flags().BoolVar(&o.attend, "needs-person", false, "only those that don't go on without a person")
	return c
}

func runList(ctx context.Context, a *app, o listOptions) error {
	if !slices.Contains([]string{outputTable, outputJSON, outputYAML, outputName}, o.output) {
		return fmt.Errorf("--output: %q is none of table, json, yaml, name", o.output)
	}
	screen, err := a.screen(unlimited)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	options, err := choose(c, o.selector)
	if err != nil {
		return err
	}
	if o.watch {
		return watchList(ctx, a, c, o, options, screen)
	}
	releases, err := a.releases(ctx, c, options)
	if err != nil {
		return err
	}
	if o.attend {
		releases = slices.DeleteFunc(releases, func(r *view.Release) bool { return !r.NeedsPerson })
	}
	if len(releases) == 0 && o.output == outputTable {
		fmt.Fprintln(a.ErrOut, "There is no such Canary"+where(c)+".")
		return nil
	}
	return writeReleases(a.Out, releases, o, screen)
}

// where says where was looked.
func where(c *connection) string {
	if c.explicit {
		return " in namespace " + c.namespace
	}
	return ""
}

// choose makes the options of a list: all namespaces where none is named.
func choose(c *connection, selector string) ([]client.ListOption, error) {
	var out []client.ListOption
	if c.explicit {
		out = append(out, client.InNamespace(c.namespace))
	}
	if selector != "" {
		chosen, err := labels.Parse(selector)
		if err != nil {
			return nil, fmt.Errorf("--selector: %w", err)
		}
		out = append(out, client.MatchingLabelsSelector{Selector: chosen})
	}
	return out, nil
}

// chunk is how many Canaries are asked for at once: thousands in one answer are much for both sides.
const chunk = 500

// canaries lists those that are chosen.
func (a *app) canaries(ctx context.Context, c *connection, options []client.ListOption) ([]v1beta1.Canary, error) {
	var out []v1beta1.Canary
	for more := ""; ; {
		var list v1beta1.CanaryList
		if err := c.List(ctx, &list, append(slices.Clone(options), client.Limit(chunk), client.Continue(more))...); err != nil {
			return nil, a.listError(c, err)
		}
		out = append(out, list.Items...)
		if more = list.Continue; more == "" {
			return out, nil
		}
	}
}

// releases are those of Canaries, without their surroundings.
func (a *app) releases(ctx context.Context, c *connection, options []client.ListOption) ([]*view.Release, error) {
	all, err := a.canaries(ctx, c, options)
	if err != nil {
		return nil, err
	}
	out := make([]*view.Release, len(all))
	places := placesOf(all, !c.explicit && len(options) == 0, len(options) == 0 || c.explicit && len(options) == 1)
	for i := range all {
		r := view.Of(view.Input{Canary: &all[i], Now: a.Clock.Now(), Place: places[client.ObjectKeyFromObject(&all[i])]})
		out[i] = &r
	}
	slices.SortFunc(out, view.Compare)
	return out, nil
}

// placesOf are the places of those that wait for one, as far as all are there that they stand among: of policies of the cluster, and of
// those of a namespace.
func placesOf(all []v1beta1.Canary, ofCluster, ofNamespace bool) map[client.ObjectKey]policy.Place {
	var waiting []*v1beta1.Canary
	for i := range all {
		if waits, cluster := policy.ForPlace(&all[i]); waits && (cluster && ofCluster || !cluster && ofNamespace) {
			waiting = append(waiting, &all[i])
		}
	}
	return policy.Places(waiting)
}

// placeOf is the place of one that waits for one. Where the others can't be listed it is not known, and the status says what it was.
func (a *app) placeOf(ctx context.Context, c *connection, of *v1beta1.Canary) policy.Place {
	waits, ofCluster := policy.ForPlace(of)
	if !waits {
		return policy.Place{}
	}
	options := []client.ListOption{client.InNamespace(of.Namespace)}
	if ofCluster {
		options = nil
	}
	all, err := a.canaries(ctx, c, options)
	if err != nil {
		return policy.Place{}
	}
	return placesOf(all, true, true)[client.ObjectKeyFromObject(of)]
}

func (a *app) listError(c *connection, err error) error {
	if err == nil {
		return nil
	}
	if apierrors.IsForbidden(err) && !c.explicit {
		return fmt.Errorf("list Canaries of all namespaces: %w; name one with -n", err)
	}
	return fmt.Errorf("list Canaries: %w", err)
}

func writeReleases(w io.Writer, all []*view.Release, o listOptions, screen view.Screen) error {
	switch o.output {
	case outputTable:
		_, err := io.WriteString(w, screen.Fleet(all, !o.noHeader))
		return err
	case outputName:
		for _, r := range all {
			fmt.Fprintln(w, resourceName(r))
		}
		return nil
	default:
		if all == nil {
			all = []*view.Release{}
		}
		return encode(w, o.output, listOutput{outputVersion, kindList, all})
	}
}

// resourceName is a Canary as kubectl names it.
func resourceName(r *view.Release) string { return "canary.flagger.app/" + r.Name }

// encode writes something for programs.
func encode(w io.Writer, format string, what any) error {
	raw, err := json.MarshalIndent(what, "", "  ")
	if err == nil && format == outputYAML {
		raw, err = yaml.JSONToYAML(raw)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", format, err)
	}
	if _, err := fmt.Fprintln(w, strings.TrimRight(string(raw), "\n")); err != nil {
		return fmt.Errorf("write %s: %w", format, err)
	}
	return nil
}

// watchList writes all that there are and then each that changes.
func watchList(ctx context.Context, a *app, c *connection, o listOptions, options []client.ListOption, screen view.Screen) error {
	shown := map[client.ObjectKey]string{}
	begun := false
	var pending []*view.Release
	write := func(all ...*view.Release) error {
		screen.Now = a.Clock.Now()
		o.noHeader = o.noHeader || begun
		if o.output == outputJSON || o.output == outputYAML {
			for _, r := range all {
				if o.output == outputYAML {
					fmt.Fprintln(a.Out, "---")
				}
				if err := encode(a.Out, o.output, releaseOutput{outputVersion, kindRelease, r}); err != nil {
					return err
				}
			}
			return nil
		}
		return writeReleases(a.Out, all, o, screen)
	}
	f := follower[*v1beta1.Canary]{
		client: c, clock: a.Clock, options: options, list: func() client.ObjectList { return &v1beta1.CanaryList{} },
		trouble: func(err error) { fmt.Fprintln(a.ErrOut, "The API server does not answer:", err) },
		each: func(canary *v1beta1.Canary, deleted bool) (bool, error) {
			key := client.ObjectKeyFromObject(canary)
			if deleted {
				delete(shown, key)
				return false, nil
			}
			r := view.Of(view.Input{Canary: canary, Now: a.Clock.Now()})
			is := summaryOf(&r)
			if shown[key] == is || o.attend && !r.NeedsPerson {
				shown[key] = is
				return false, nil
			}
			shown[key] = is
			if !begun {
				pending = append(pending, &r)
				return false, nil
			}
			return false, write(&r)
		},
		listed: func(map[client.ObjectKey]bool) (bool, error) {
			if begun {
				return false, nil
			}
			slices.SortFunc(pending, view.Compare)
			err := write(pending...)
			begun, pending = true, nil
			return false, err
		},
	}
	return a.listError(c, unlessEnded(ctx, f.run(ctx)))
}

// summaryOf is what makes a line of its own worth while.
func summaryOf(r *view.Release) string {
	step := int32(-1)
	if r.Step != nil {
		step = r.Step.Index
	}
	return fmt.Sprint(r.State, r.Traffic, step, r.FailedChecks, r.Revision, r.Message)
}
