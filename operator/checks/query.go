package checks

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/builtin"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
	"github.com/sluice-delivery/sluice/operator/sources"
)

// check queries one metric of an analysis and judges the answer.
func (k *Checker) check(ctx context.Context, c *v1beta1.Canary, id release.CheckID, index int) v1beta1.CheckStatus {
	whole, began := ctx, k.Clock.Now()
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	metric := c.GetAnalysis().Metrics[index]
	if unknown(metric) {
		return unchecked(metric, k.Clock.Now())
	}
	answer := k.answer(ctx, c, index)
	if answer.Err == nil {
		k.Telemetry.Check(c, metric, answer.Sample.Value)
	}
	result := metrics.Evaluate(metric, answer)
	if whole.Err() == nil { // what was called off has no result
		k.Traces.Check(c, id, began, result)
	}
	return result
}

// answer is what is known of a metric now.
func (k *Checker) answer(ctx context.Context, c *v1beta1.Canary, index int) (answer metrics.Answer) {
	all := c.GetAnalysis().Metrics
	if err := contained(ctx, c, all[index].Name, func() { answer = k.query(ctx, c, index) }); err != nil {
		answer.Err = &metrics.UnavailableError{Provider: "of the metric", Err: err}
	}
	if before := rounds.Before(c.Status.Checks, all, index); before != nil {
		answer.HadValue = before.HadValue
	}
	answer.At = k.Clock.Now()
	return answer
}

// onlyCompares is true for a metric whose value has no range to be in: nothing is asked but its counts.
func onlyCompares(metric v1beta1.CanaryMetric) bool {
	return metric.Comparison != nil && metric.ThresholdRange == nil && metric.Threshold == nil
}

// comparing is the result of such a metric, before the decision core puts in what the evidence says.
func comparing(metric v1beta1.CanaryMetric, now time.Time) v1beta1.CheckStatus {
	return v1beta1.CheckStatus{Name: metric.Name, Window: metric.GetInterval(), Verdict: v1beta1.CheckPassed, Time: metav1.NewMicroTime(now)}
}

// uncountedResult is the result of a metric whose requests could not be counted.
func uncountedResult(metric v1beta1.CanaryMetric, err error, now time.Time) v1beta1.CheckStatus {
	result := metrics.Evaluate(metric, metrics.Answer{Err: err, At: now})
	result.Range = ""
	return result
}

// unknown is true for a metric that is never checked: it says neither by its name nor by a
// template or a query what is to be asked.
func unknown(metric v1beta1.CanaryMetric) bool {
	return metric.IsBuiltIn() && !builtin.Known(metric.Name)
}

// unchecked is the result of such a metric.
func unchecked(metric v1beta1.CanaryMetric, now time.Time) v1beta1.CheckStatus {
	return v1beta1.CheckStatus{
		Name: metric.Name, Window: metric.GetInterval(), Verdict: v1beta1.CheckPassed, Time: metav1.NewMicroTime(now),
		Message: metric.Name + ": never checked, as it has neither templateRef nor query and is not built in",
	}
}

// contained does something, and returns a panic of it as an error: what a server of one user sends must not end the
// releases of all.
func contained(ctx context.Context, c *v1beta1.Canary, name string, do func()) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the operator could not read its answer, which is a mistake of the operator: %v", cause)
			log.FromContext(ctx).Error(err, "A check has failed in the operator", "canary", c.Namespace+"/"+c.Name, "check", name, "stack", string(debug.Stack()))
		}
	}()
	do()
	return nil
}

// query queries a metric and whatever else its verdict depends on. All of it
// shares one deadline.
func (k *Checker) query(ctx context.Context, c *v1beta1.Canary, index int) metrics.Answer {
	metric := c.GetAnalysis().Metrics[index]
	if metric.IsBuiltIn() {
		return k.queryBuiltIn(ctx, c, index)
	}
	var answer metrics.Answer
	provider, query, err := k.expression(ctx, c, metric)
	answer.Query = query
	if err != nil {
		answer.Err = err
		return answer
	}
	answer.Sample, answer.Err = provider.Query(ctx, query)
	return metrics.Reduce(metric, answer)
}

// expression is that of a metric with a template or a query, and who answers it.
func (k *Checker) expression(ctx context.Context, c *v1beta1.Canary, metric v1beta1.CanaryMetric) (metrics.Provider, metrics.Query, error) {
	if metric.TemplateRef != nil {
		return k.Sources.Template(ctx, c, metric)
	}
	query, err := sources.Inline(c, metric)
	if err != nil {
		return nil, query, err
	}
	provider, err := k.Sources.Server(ctx, c)
	return provider, query, err
}

// counting is a built-in metric while it is asked for.
type counting struct {
	server  metrics.Provider
	metric  v1beta1.CanaryMetric
	vars    builtin.Vars
	sources []builtin.Source
	answer  metrics.Answer
}

// queryBuiltIn asks for a built-in metric of who counts the application's requests: the
// last time's source, else the likeliest. Only where that has no value the others are
// looked at, and what a canary without requests means.
func (k *Checker) queryBuiltIn(ctx context.Context, c *v1beta1.Canary, index int) metrics.Answer {
	of, err := k.counting(ctx, c, index)
	if err != nil {
		of.answer.Err = err
		return of.answer
	}
	first := of.sources[0]
	if before := rounds.Before(c.Status.Checks, c.GetAnalysis().Metrics, index); before != nil {
		if i := slices.IndexFunc(of.sources, func(s builtin.Source) bool { return s.Name == before.Source }); i >= 0 {
			first = of.sources[i]
		}
	}
	source, advice := first, first.Advice
	if of.query(ctx, first); len(of.sources) > 1 && metrics.AsksForPrimary(of.metric, of.answer) {
		which, err := of.which(ctx)
		switch {
		case err != nil:
			of.answer.Err = err
		case which == nil:
			advice += builtin.Alternatives(of.sources, first)
		case which.Name != first.Name:
			source, advice = *which, which.Advice
			of.query(ctx, source)
		}
	}
	if metrics.AsksForPrimary(of.metric, of.answer) {
		if err := of.queryPrimary(ctx, source, advice); err != nil {
			of.answer.Err = err
		}
	}
	return of.answer
}

func (k *Checker) counting(ctx context.Context, c *v1beta1.Canary, index int) (*counting, error) {
	metric := c.GetAnalysis().Metrics[index]
	of := &counting{metric: metric, vars: vars(c, metric)}
	all, err := builtin.Sources(c.GetProvider(k.MeshProvider), k.MeshProvider)
	if err != nil {
		return of, err
	}
	if of.sources, err = builtin.Usable(all, of.vars); err != nil {
		return of, err
	}
	of.server, err = k.Sources.Server(ctx, c)
	return of, err
}

// query asks a source for the metric.
func (of *counting) query(ctx context.Context, source builtin.Source) {
	of.answer = metrics.Answer{Source: source.Name}
	expr, err := source.Expr(of.metric.Name, of.vars)
	if of.answer.Query.Expr = expr; err != nil {
		of.answer.Err = err
		return
	}
	if metrics.AsksForCanary(of.metric) {
		if of.answer.Canary, of.answer.Err = of.number(ctx)(source.Requests(builtin.Canary, of.vars)); of.answer.Err != nil {
			return
		}
	}
	of.answer.Sample, of.answer.Err = of.send(ctx, of.answer.Query)
}

// send sends a query of ours, which many Canaries have and no user has written, together with those of others.
func (of *counting) send(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	if server, ok := of.server.(metrics.Together); ok {
		return server.QueryTogether(ctx, q)
	}
	return of.server.Query(ctx, q)
}

// which is the source that has series of the application, nil for none.
func (of *counting) which(ctx context.Context) (*builtin.Source, error) {
	number, err := of.number(ctx)(builtin.Which(of.sources, of.vars))
	if err != nil {
		return nil, err
	}
	for i := range of.sources {
		if *number == float64(i+1) {
			return &of.sources[i], nil
		}
	}
	return nil, nil
}

// queryPrimary asks how many requests the primary had in the metric's interval, and
// whether what tells of them is scraped. advice says what to do where it is not.
func (of *counting) queryPrimary(ctx context.Context, source builtin.Source, advice string) (err error) {
	versions := []builtin.Version{builtin.Primary}
	if source.NeedsCanary {
		versions = append(versions, builtin.Canary)
	}
	for _, version := range versions {
		times, err := of.number(ctx)(source.Scrapes(version, of.vars))
		if err != nil {
			return err
		}
		of.answer.Scraped = append(of.answer.Scraped, metrics.Scraped{Series: source.Series(version, of.vars), Times: *times, Advice: advice})
	}
	of.answer.Primary, err = of.number(ctx)(source.Requests(builtin.Primary, of.vars))
	return err
}

// number is what a query gives, 0 where it has no value.
func (of *counting) number(ctx context.Context) func(expr string, err error) (*float64, error) {
	return func(expr string, err error) (*float64, error) {
		if err != nil {
			return nil, err
		}
		sample, err := of.send(ctx, metrics.Query{Expr: expr})
		if err != nil && !metrics.IsNoData(err) {
			return nil, err
		}
		if !(sample.Value > 0) { // nor is NaN a request
			sample.Value = 0
		}
		return &sample.Value, nil
	}
}

func vars(c *v1beta1.Canary, metric v1beta1.CanaryMetric) builtin.Vars {
	apex, _, _ := c.ServiceNames()
	ingress := apex
	if ref := c.Spec.IngressRef; ref != nil {
		ingress = ref.Name
	}
	routeName := apex
	if ref := c.Spec.RouteRef; ref != nil {
		routeName = ref.Name
	}
	return builtin.Vars{
		Ingress: ingress, Route: routeName,
		Name: c.Name, Namespace: c.Namespace, Target: c.Spec.TargetRef.Name, Primary: c.PrimaryName(), Kind: c.Spec.TargetRef.Kind,
		Service: apex, Interval: metric.GetInterval(),
		CanaryRevision: knative.Name(c.Status.LastAppliedSpec), PrimaryRevision: knative.Name(c.Status.LastPromotedSpec),
	}
}
