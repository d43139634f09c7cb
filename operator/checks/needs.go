package checks

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/builtin"
	"github.com/sluice-delivery/sluice/operator/sources"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/world"
)

// Indexes of Canaries by what their metrics need.
const (
	templateIndex = "metric-template"
	secretIndex   = "check-secret"
)

// Indexes are those of the cache for what metrics need.
func Indexes() []wake.Index {
	return []wake.Index{
		{Of: &v1beta1.Canary{}, Name: templateIndex, Values: templateNames},
		{Of: &v1beta1.Canary{}, Name: secretIndex, Values: secretNames},
	}
}

// Needs are what the metrics of Canaries need: templates, servers and credentials.
type Needs struct {
	// Sources gives what answers metrics.
	Sources Sources
	// Reader reads Canaries from a cache that has the Indexes.
	Reader client.Reader
	// Strict refuses metrics that are never checked, which are only told of otherwise.
	Strict bool
}

var (
	_ world.Observer = (*Needs)(nil)
	_ wake.Waker     = (*Needs)(nil)
)

// Observe finds out whether every metric of the analysis can be queried: a
// template that is missing or broken is better known before it decides over a
// release.
func (n *Needs) Observe(ctx context.Context, w *world.World) error {
	c := w.Canary
	if c.Spec.SkipAnalysis {
		return nil
	}
	never := neverChecked(c.GetAnalysis())
	w.Ignored = append(append(w.Ignored, never...), shadowed(c.GetAnalysis())...)
	if n.Strict && len(never) > 0 {
		return world.Mistake(world.ReasonInvalidSpec, "%s; the operator has -strict-metrics", never[0])
	}
	served := false
	var missing error // what is wrong with another metric is more than that something is not there yet
	for i, metric := range c.GetAnalysis().Metrics {
		if unknown(metric) {
			continue
		}
		field, err := n.look(ctx, c, i, metric)
		if err == nil && metric.TemplateRef == nil && !served {
			field, served = "", true
			_, err = n.Sources.Server(ctx, c)
		}
		problem := sources.AsProblem(err)
		switch {
		case problem != nil && problem.Missing():
			missing = cmp.Or(missing, world.Missing(problem.Reason, "%s%s", field, problem.Message))
		case problem != nil:
			return world.Mistake(problem.Reason, "%s%s", field, problem.Message)
		case err != nil: // it is tried again when the metric is queried
			log.FromContext(ctx).V(1).Info("A metric can't be looked at", "metric", metric.Name, "problem", err.Error())
		}
	}
	return missing
}

// look finds out whether what a metric asks for can be asked, and names the field that says what it asks for.
func (n *Needs) look(ctx context.Context, c *v1beta1.Canary, index int, metric v1beta1.CanaryMetric) (field string, err error) {
	field = fmt.Sprintf("spec.analysis.metrics[%d].", index)
	switch {
	case metric.TemplateRef != nil:
		_, _, err = n.Sources.Template(ctx, c, metric)
		if err == nil && metric.Comparison != nil {
			_, _, err = n.Sources.Count(ctx, c, metric, string(builtin.Canary), false, "1m")
		}
	case metric.Query != "":
		_, err = sources.Inline(c, metric)
	default:
		return "", nil
	}
	return field, err
}

// SetUp brings back the Canaries whose MetricTemplates or credentials change.
func (n *Needs) SetUp(ctx context.Context, w *wake.Watches) error {
	w.Builder.Watches(&v1beta1.MetricTemplate{}, handler.EnqueueRequestsFromMapFunc(n.byTemplate), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{}))
	w.Builder.WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(w.Canaries.ByName(secretIndex)), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{}))
	return w.Index(ctx, Indexes()...)
}

// byTemplate finds the Canaries, of whatever namespace, that refer to a
// MetricTemplate.
func (n *Needs) byTemplate(ctx context.Context, o client.Object) []reconcile.Request {
	var list v1beta1.CanaryList
	name := o.GetNamespace() + "/" + o.GetName()
	if err := n.Reader.List(ctx, &list, client.MatchingFields{templateIndex: name}, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "Finding the Canaries of a MetricTemplate", "template", name)
		return nil
	}
	out := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		out[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
	}
	return out
}

// templateNames are the values of templateIndex for a Canary.
func templateNames(o client.Object) []string {
	c := o.(*v1beta1.Canary)
	var out []string
	for _, m := range c.GetAnalysis().Metrics {
		if m.TemplateRef != nil {
			out = append(out, sources.Key(c.Namespace, m.TemplateRef).String())
		}
	}
	return out
}

// secretNames are the values of secretIndex for a Canary.
func secretNames(o client.Object) []string {
	c := o.(*v1beta1.Canary)
	var out []string
	if ref := c.Spec.MetricsServerSecretRef; ref != nil {
		out = append(out, ref.Name)
	}
	for _, hook := range c.GetAnalysis().Webhooks {
		if hook.SecretRef != nil {
			out = append(out, hook.SecretRef.Name)
		}
	}
	return out
}
