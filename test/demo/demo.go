package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

const (
	rate         = 200 // requests a second
	errorPercent = 50  // of the bad release
	slightly     = 1   // percent of the requests that releases fail which are a point worse
	canaryName   = rig.Name
)

// runEmbedded is the whole show in a cluster of its own.
func runEmbedded(ctx context.Context, out io.Writer, keep bool) (err error) {
	fmt.Fprintln(out, "Sluice demo: a real Kubernetes API, a real Istio, real requests. Bringing them up:")
	r, err := rig.Start(ctx, "", out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()

	operator, err := r.StartOperator(ctx, "")
	if err != nil {
		return err
	}
	dashboard, err := openDashboard(ctx, r.Kubeconfig())
	if err != nil {
		return err
	}
	dashboard.Host = cluster.Outside(dashboard.Host)
	fmt.Fprintf(out, "\nWatch it in the dashboard:\n\n  %s\n", dashboard)
	if err := r.DeployPodinfo(ctx); err != nil {
		return err
	}
	caller, err := r.Call(ctx, rate)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\npodinfo 6.0.0 serves, and a client in the mesh calls it %d times a second.\n", rate)

	if err := r.RememberPast(ctx, rig.Past{Rate: rate}); err != nil {
		return err
	}
	var results []result
	for _, s := range stages(r) {
		got, err := perform(ctx, out, &r.App, caller, s)
		if ctx.Err() != nil {
			return ctx.Err() // the user has ended it
		}
		got.print(out)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", s.title, err), summary(ctx, out, r.Kubeconfig(), r.Namespace))
		}
		results = append(results, got)
	}
	compareRules(out, results[len(results)-3], results[len(results)-1])
	if err := summary(ctx, out, r.Kubeconfig(), r.Namespace); err != nil {
		return err
	}
	if keep {
		return stay(ctx, out, r, operator, dashboard.String())
	}
	return nil
}

// stages are the show. The last three are of releases that are a point worse: one that a threshold lets pass, what mends it, and
// one that is found by the side of the primary.
func stages(r *rig.Rig) []stage {
	release := func(version string, failing int) func(context.Context) error {
		return func(ctx context.Context) error {
			return r.Release(ctx, version, corev1.EnvVar{Name: "SLUICE_ERROR_PERCENT", Value: fmt.Sprint(failing)})
		}
	}
	judged := func(by v1beta1.CanaryMetric, then func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error { return errors.Join(judgeBy(ctx, r, by), then(ctx)) }
	}
	const success = v1beta1.MetricRequestSuccessRate
	return []stage{
		{
			title: "A Canary is applied: the running application is taken over",
			begin: func(ctx context.Context) error { return r.Create(ctx, "canary.yaml") },
			phase: v1beta1.PhaseInitialized, limit: time.Minute,
		},
		{
			title: "Release 6.0.1, which is good",
			begin: func(ctx context.Context) error { return r.Release(ctx, "6.0.1") },
			phase: v1beta1.PhaseSucceeded, limit: 2 * time.Minute,
		},
		{
			title: fmt.Sprintf("Release 6.0.2, which answers %d%% of its requests with an error", errorPercent),
			begin: release("6.0.2", errorPercent),
			phase: v1beta1.PhaseFailed, mayFail: true, limit: 2 * time.Minute,
		},
		{
			title: fmt.Sprintf("Release 6.0.3, which fails %d%%, and a threshold: 97%% of the requests succeed", slightly),
			begin: judged(v1beta1.CanaryMetric{Name: success, Interval: "5s", ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(97.0)}}, release("6.0.3", slightly)),
			phase: v1beta1.PhaseSucceeded, mayFail: true, allFail: true, limit: 3 * time.Minute,
		},
		{
			title: "Release 6.0.4, which mends it",
			begin: release("6.0.4", 0),
			phase: v1beta1.PhaseSucceeded, mayFail: true, allFail: true, limit: 2 * time.Minute,
		},
		{
			title: fmt.Sprintf("Release 6.0.5, which fails %d%% again, and a comparison with the primary", slightly),
			begin: judged(v1beta1.CanaryMetric{Name: success, Comparison: &v1beta1.MetricComparison{}}, release("6.0.5", slightly)),
			phase: v1beta1.PhaseFailed, mayFail: true, limit: 5 * time.Minute,
		},
	}
}

// judgeBy has the Canary judge releases by one metric.
func judgeBy(ctx context.Context, r *rig.Rig, by v1beta1.CanaryMetric) error {
	c, err := r.Canary(ctx)
	if err != nil {
		return err
	}
	before := c.DeepCopy()
	c.Spec.Analysis.Metrics = []v1beta1.CanaryMetric{by}
	return r.API.Patch(ctx, c, client.MergeFrom(before))
}

// stay keeps the cluster up for as long as the user wants it, and has another operator run where one has ended.
func stay(ctx context.Context, out io.Writer, r *rig.Rig, operator *cluster.Program, dashboard string) error {
	fmt.Fprintf(out, "\nThe cluster stays up until you press Ctrl-C. The dashboard is at\n\n  %s\n\nIn another terminal:\n\n"+
		"  export KUBECONFIG=%s\n  kubectl -n %s get canaries\n  kubectl -n %s describe canary %s\n\nMend the bad release and watch it being promoted:\n\n"+
		"  kubectl -n %s set env deployment/%s SLUICE_ERROR_PERCENT-\n  kubectl -n %s get canaries -w\n\n"+
		"End the operator in the middle of that, as a crash would. Another one is started, and goes on where it was:\n\n  kill -9 %d\n",
		dashboard, r.HostKubeconfig(), rig.Namespace, rig.Namespace, canaryName, rig.Namespace, rig.Name, rig.Namespace, operator.Pid())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-operator.Ended():
		}
		operator.Stop(0) // its end was wanted: it is none of the cluster's failures
		next, err := r.StartOperator(ctx, "")
		if err != nil {
			return errors.Join(errors.New("the operator has ended, and another one does not run"), err)
		}
		operator = next
		fmt.Fprintf(out, "\nThe operator has ended. Another one runs:\n\n  kill -9 %d\n", operator.Pid())
	}
}
