package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cluster"

	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/providers/factory"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// newMeshCluster is the cluster that has the objects of the mesh: the one of
// -kubeconfig-service-mesh, whose caches run with the manager, else the
// manager's own.
func newMeshCluster(mgr ctrl.Manager, scheme *runtime.Scheme, o options, w wiring) (cluster.Cluster, error) {
	if o.meshKubeconfig == "" {
		return mgr, nil
	}
	config, err := kubeConfig(o.meshKubeconfig, o)
	if err != nil {
		return nil, fmt.Errorf("-kubeconfig-service-mesh: %w", err)
	}
	like := managerOptions(scheme, o, w, nil, nil)
	like.Cache.ByObject = nil // they are for kinds that are not the mesh's
	mesh, err := cluster.New(config, func(c *cluster.Options) {
		c.Scheme, c.Cache, c.Client, c.NewClient, c.NewCache = like.Scheme, like.Cache, like.Client, like.NewClient, like.NewCache
	})
	if err != nil {
		return nil, fmt.Errorf("cluster of the mesh: %w", err)
	}
	if err := mgr.Add(mesh); err != nil {
		return nil, fmt.Errorf("cluster of the mesh: %w", err)
	}
	return mesh, nil
}

// routerDeps are what routers work with; applier is the manager's.
func routerDeps(mesh cluster.Cluster, served *kube.Served, o options, applier *ssa.Applier) factory.Deps {
	remote := o.meshKubeconfig != ""
	if remote {
		applier = ssa.New(mesh.GetClient())
	}
	o.consul.Apart = o.alerts.noCrossNamespaceRefs
	return factory.Deps{
		IngressPrefix: o.ingressPrefix, IngressClass: o.ingressClass,
		Client: served, Live: mesh.GetAPIReader(), Applier: applier, Remote: remote,
		Clock: clock.RealClock{}, Consul: o.consul,
	}
}
