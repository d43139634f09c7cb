package preflight

import (
	"context"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/canary"
	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/sources"
)

// Operator is what decides in the operator, with a View in the place of its cluster.
type Operator struct {
	// View is what there is.
	View *View
	// Preview tells what a Canary would come to.
	Preview func(context.Context, *v1beta1.Canary) canary.Preview
	// CheckTemplate says whether Canaries can use a MetricTemplate, and Warn what may go wrong with one that they can.
	CheckTemplate func(context.Context, *v1beta1.MetricTemplate) error
	Warn          func(*v1beta1.MetricTemplate) string
	// CheckAlertProvider says whether Canaries can use an AlertProvider.
	CheckAlertProvider func(context.Context, *v1beta1.AlertProvider) error
	// Provider is the mesh provider of a Canary that names none.
	Provider string
	// Schemas are those of the kinds that are judged.
	Schemas Schemas
	// Found is what Fits has found of objects of files.
	Found []Finding
	// DryRun has an API server judge objects of files, without writing anything. Nil asks none.
	DryRun client.Writer
	// Cluster is true where a cluster is looked at, so that what is not there is missing.
	Cluster bool
}

// Canary tells what would become of a Canary.
func (o *Operator) Canary(ctx context.Context, c *v1beta1.Canary, source string) Finding {
	f := Finding{Kind: "Canary", Namespace: c.Namespace, Name: c.Name, Source: source, Provider: c.GetProvider(o.Provider)}
	o.View.Forget()
	was := c.DeepCopy()
	p := o.Preview(ctx, c.DeepCopy())
	f.Differences = p.Observation.Ignored
	incomplete := false
	for _, m := range p.Mistakes {
		switch {
		case m.Missing && !o.Cluster:
			f.NotLooked = append(f.NotLooked, m.Message)
		case m.Reason == configs.ReasonUnreadable && len(o.View.Unread()) > 0:
			incomplete = incomplete || !onlySecrets(o.View.Unread())
		default:
			f.Refusals = append(f.Refusals, m.Message)
		}
	}
	for _, x := range p.Unobserved {
		f.NotLooked = append(f.NotLooked, x.Object+": "+x.Message)
		incomplete = incomplete || !onlySecrets(o.View.Unread())
	}
	if p.Observation.Outage != "" {
		f.NotLooked = append(f.NotLooked, p.Observation.Outage)
	}
	f.NotLooked = append(f.NotLooked, o.View.Unread()...)
	incomplete = incomplete || !onlySecrets(o.View.Unread())
	if p.Decision.Status.Phase != "" && len(p.Mistakes) == 0 {
		f.Takeover = takeover(was, p, o.View.Writes())
	}
	if cover := p.Observation.Coverage; cover != nil {
		for _, what := range cover.Uncovered {
			f.Takeover = append(f.Takeover, what+" selects the target's pods and not the primary's (condition Covered, docs/coverage.md)")
		}
	}
	return f.sumUp(incomplete)
}

// onlySecrets tells whether all that could not be read are Secrets, which people who look may have no rights to read.
// What is in them is not judged then.
func onlySecrets(unread []string) bool {
	return !slices.ContainsFunc(unread, func(what string) bool {
		return !strings.HasPrefix(what, "Secret ") && !strings.HasPrefix(what, "all Secrets:")
	})
}

// MetricTemplate tells what would become of a MetricTemplate.
func (o *Operator) MetricTemplate(ctx context.Context, t *v1beta1.MetricTemplate, source string) Finding {
	f := Finding{Kind: "MetricTemplate", Namespace: t.Namespace, Name: t.Name, Source: source}
	o.View.Forget()
	if warning := strings.TrimPrefix(o.Warn(t), "; "); warning != "" {
		f.Differences = append(f.Differences, warning)
	}
	return o.reference(f, o.CheckTemplate(ctx, t))
}

// AlertProvider tells what would become of an AlertProvider.
func (o *Operator) AlertProvider(ctx context.Context, p *v1beta1.AlertProvider, source string) Finding {
	f := Finding{Kind: "AlertProvider", Namespace: p.Namespace, Name: p.Name, Source: source}
	o.View.Forget()
	return o.reference(f, o.CheckAlertProvider(ctx, p))
}

// reference adds to a finding what is wrong with an object that Canaries refer to.
func (o *Operator) reference(f Finding, err error) Finding {
	problem := sources.AsProblem(err)
	incomplete := false
	switch {
	case err == nil:
	case problem == nil:
		f.NotLooked = append(f.NotLooked, err.Error())
		incomplete = !onlySecrets(o.View.Unread())
	case problem.Missing() && !o.Cluster:
		f.NotLooked = append(f.NotLooked, problem.Message)
	default:
		f.Refusals = append(f.Refusals, problem.Message)
	}
	return f.sumUp(incomplete)
}

// settled are the phases in which no release is under way.
func settled(phase v1beta1.CanaryPhase) bool {
	return slices.Contains([]v1beta1.CanaryPhase{v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded, v1beta1.PhaseFailed}, phase)
}

// begins tells whether a release begins with a decision.
func begins(was *v1beta1.Canary, d release.Decision) bool {
	return settled(was.Status.Phase) && release.Running(d.Status.Phase)
}
