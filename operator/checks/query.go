package checks

import (
	"context"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/builtin"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
)

// check queries one metric of an analysis and judges the answer.
func (k *Checker) check(ctx context.Context, c *v1beta1.Canary, index int) v1beta1.CheckStatus {
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	all := c.GetAnalysis().Metrics
	metric := all[index]
	answer := k.query(ctx, c, metric)
	if answer.Err == nil {
		k.Telemetry.Check(c, metric, answer.Sample.Value)
	}
	if before := rounds.Before(c.Status.Checks, all, index); before != nil {
		answer.HadValue = before.HadValue
	}
	answer.At = k.Clock.Now()
	return metrics.Evaluate(metric, answer)
}

// query queries a metric and whatever else its verdict depends on. All of it
// shares one deadline.
func (k *Checker) query(ctx context.Context, c *v1beta1.Canary, metric v1beta1.CanaryMetric) metrics.Answer {
	var answer metrics.Answer
	provider, query, err := k.expression(ctx, c, metric)
	answer.Query = query
	if err != nil {
		answer.Err = err
		return answer
	}
	if metrics.AsksForCanary(metric) {
		if answer.Canary, answer.Err = k.requests(ctx, provider, c, metric, builtin.Canary); answer.Err != nil {
			return answer
		}
	}
	answer.Sample, answer.Err = provider.Query(ctx, query)
	if metrics.AsksForPrimary(metric, answer) {
		primary, err := k.requests(ctx, provider, c, metric, builtin.Primary)
		switch {
		case metrics.IsUnknownMetric(err): // then nobody can tell
		case err != nil:
			answer.Err = err
		default:
			answer.Primary = primary
		}
	}
	return answer
}

// expression is that of a metric, and who answers it.
func (k *Checker) expression(ctx context.Context, c *v1beta1.Canary, metric v1beta1.CanaryMetric) (metrics.Provider, metrics.Query, error) {
	if metric.TemplateRef != nil {
		return k.Sources.Template(ctx, c, metric)
	}
	query := metrics.Query{Expr: metric.Query}
	if metric.IsBuiltIn() {
		expr, err := builtin.Expr(c.GetProvider(k.MeshProvider), metric.Name, vars(c, metric, c.Spec.TargetRef.Name))
		if err != nil {
			return nil, metrics.Query{}, err
		}
		query.Expr = expr
	}
	provider, err := k.Sources.Server(ctx, c)
	return provider, query, err
}

// requests asks how many requests a version had in the metric's interval.
func (k *Checker) requests(ctx context.Context, provider metrics.Provider, c *v1beta1.Canary, metric v1beta1.CanaryMetric, of builtin.Version) (*float64, error) {
	name := c.Spec.TargetRef.Name
	if of == builtin.Primary {
		name = c.PrimaryName()
	}
	expr, err := builtin.Requests(c.GetProvider(k.MeshProvider), of, vars(c, metric, name))
	if err != nil {
		return nil, err
	}
	sample, err := provider.Query(ctx, metrics.Query{Expr: expr})
	if err != nil && !metrics.IsNoData(err) {
		return nil, err
	}
	if !(sample.Value > 0) { // nor is NaN a request
		sample.Value = 0
	}
	return &sample.Value, nil
}

func vars(c *v1beta1.Canary, metric v1beta1.CanaryMetric, name string) builtin.Vars {
	apex, _, _ := c.ServiceNames()
	return builtin.Vars{Name: c.Name, Namespace: c.Namespace, Target: name, Kind: c.Spec.TargetRef.Kind, Service: apex, Interval: metric.GetInterval()}
}
