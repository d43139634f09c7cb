// Package assembly puts together what the operator and those who look ahead have in common: the parts of a release, and
// the reconciler with a view of objects in the place of a cluster.
package assembly

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/actions"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
	"github.com/sluice-delivery/sluice/operator/canary"
	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/primaries"
	"github.com/sluice-delivery/sluice/operator/services"
	"github.com/sluice-delivery/sluice/operator/targets"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// Options are what the parts of a release are told by a command line.
type Options struct {
	// Objects are for all that is built.
	Objects workload.Options
	// NoConfigTracking leaves ConfigMaps and Secrets untracked.
	NoConfigTracking bool
	// ReportCoverage looks for what selects a target's pods by label and not its primary's, and CopyCoverage makes copies.
	ReportCoverage, CopyCoverage bool
	// IstioRootNamespace is that whose policies are for all namespaces.
	IstioRootNamespace string
}

// AddParts gives a reconciler the parts of a release, but for the route. What its Client does not have as it is they read
// by live.
func AddParts(r *canary.Reconciler, live client.Reader, o Options) {
	c, applier := r.Client, r.Applier
	r.Actions = &actions.Actions{Client: c, Live: live, Clock: r.Clock}
	r.Targets = &targets.Targets{Client: c, Live: live, Applier: applier}
	r.Configs = configs.New(configs.Config{Client: c, Live: live, Applier: applier, Options: o.Objects, Clock: r.Clock, Off: o.NoConfigTracking})
	r.Primaries = &primaries.Primaries{Client: c, Live: live, Applier: applier, Options: o.Objects, Workloads: r.Targets}
	r.Autoscalers = &autoscaling.Autoscalers{Client: c, Applier: applier, Options: o.Objects}
	r.Services = &services.Services{Client: c, Applier: applier, Options: o.Objects}
	r.Coverage = &coverage.Keeper{
		Reports: o.ReportCoverage, Copies: o.CopyCoverage, RootNamespace: o.IstioRootNamespace,
		Client: c, Applier: applier, Options: o.Objects,
	}
}
