package canary

import (
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
	"github.com/sluice-delivery/sluice/operator/sources"
)

// Indexes of Canaries by what their metrics need.
const (
	templateIndex      = "metric-template"
	metricsSecretIndex = "metrics-secret"
)

// observeMetrics finds out whether every metric of the analysis can be asked
// for: a template that is missing or broken is better known before it decides
// over a release.
func (r *Reconciler) observeMetrics(ctx context.Context, w *world) error {
	if w.Canary.Spec.SkipAnalysis {
		return nil
	}
	served := false
	for i, metric := range w.Canary.GetAnalysis().Metrics {
		var err error
		var field string
		switch {
		case metric.TemplateRef != nil:
			field = fmt.Sprintf("spec.analysis.metrics[%d].", i)
			_, _, err = r.Sources.Template(ctx, w.Canary, metric)
		case !served:
			served = true
			_, err = r.Sources.Server(ctx, w.Canary)
		}
		if problem := sources.AsProblem(err); problem != nil {
			return mistake(problem.Reason, "%s%s", field, problem.Message)
		}
		if err != nil { // it is tried again when the metric is asked for
			log.FromContext(ctx).V(1).Info("A metric can't be looked at", "metric", metric.Name, "problem", err.Error())
		}
	}
	return nil
}

// watchMetrics brings back the Canaries whose MetricTemplates or credentials
// change.
func (r *Reconciler) watchMetrics(b *builder.Builder) {
	b.Watches(&v1beta1.MetricTemplate{}, handler.EnqueueRequestsFromMapFunc(r.byTemplate), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{}))
	b.WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.Canaries.ByName(metricsSecretIndex)), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{}))
}

// byTemplate finds the Canaries, of whatever namespace, that refer to a
// MetricTemplate.
func (r *Reconciler) byTemplate(ctx context.Context, o client.Object) []reconcile.Request {
	var list v1beta1.CanaryList
	name := o.GetNamespace() + "/" + o.GetName()
	if err := r.Client.List(ctx, &list, client.MatchingFields{templateIndex: name}, client.UnsafeDisableDeepCopy); err != nil {
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

// metricsSecretNames are the values of metricsSecretIndex for a Canary.
func metricsSecretNames(o client.Object) []string {
	if ref := o.(*v1beta1.Canary).Spec.MetricsServerSecretRef; ref != nil {
		return []string{ref.Name}
	}
	return nil
}
