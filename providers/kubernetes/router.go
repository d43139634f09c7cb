// Package kubernetes serves Canaries without a mesh. The apex Service always selects the
// primary's pods, so that no user's request reaches a canary: a release is checked
// through the canary's own Service (blue/green), and then copied to the primary.
//
// The Services are the operator's; nothing is written here.
package kubernetes

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Router is the providers.Router of a cluster without a mesh.
type Router struct{ reader client.Reader }

var _ providers.Router = (*Router)(nil)

// New returns a router that reads Services through an informer cache.
func New(reader client.Reader) *Router { return &Router{reader: reader} }

// Capabilities implements providers.Router: Services share out nothing, and lead whatever is
// spoken to one side.
func (*Router) Capabilities() providers.Capabilities {
	return providers.Capabilities{TCP: true, TLS: true}
}

// Ignores implements providers.Ignorer.
func (*Router) Ignores() map[string]string {
	return providers.IgnoresAll("a Service of Kubernetes does not have it")
}

// Observe implements providers.Router. It is in sync when the apex Service selects what
// the primary's does.
func (r *Router) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	c := route.Canary
	if !c.DeletionTimestamp.IsZero() {
		return providers.State{}, nil // there is nothing to give back
	}
	if err := r.refuse(c); err != nil {
		return providers.State{}, err
	}
	apexName, primaryName, _ := c.ServiceNames()
	apex, err := r.get(ctx, c.Namespace, apexName)
	if err != nil || apex == nil {
		return providers.State{}, err
	}
	primary, err := r.get(ctx, c.Namespace, primaryName)
	if err != nil || primary == nil {
		return providers.State{}, err
	}
	if !maps.Equal(apex.Spec.Selector, primary.Spec.Selector) {
		return providers.State{Detail: fmt.Sprintf("Service %s does not select the pods that %s does", apexName, primaryName)}, nil
	}
	all := providers.Traffic{Primary: 100}
	return providers.State{Exists: true, Traffic: all, InSync: route.Traffic == all}, nil
}

// Apply implements providers.Router.
func (r *Router) Apply(_ context.Context, route providers.Route) error {
	if err := route.Traffic.Validate(); err != nil {
		return err
	}
	if err := r.refuse(route.Canary); err != nil {
		return err
	}
	if route.Traffic != (providers.Traffic{Primary: 100}) {
		return &providers.UnsupportedError{
			Router: v1beta1.ProviderKubernetes, Field: "spec.provider", Why: "a Service leads to the primary alone",
		}
	}
	return nil
}

// Release implements providers.Router.
func (*Router) Release(context.Context, providers.Route) error { return nil }

func (r *Router) refuse(c *v1beta1.Canary) error {
	if c.Spec.TargetRef.Kind == "Service" {
		return &providers.UnsupportedError{
			Router: v1beta1.ProviderKubernetes, Field: "spec.targetRef.kind", Why: "without a mesh a Service leads to its own pods, whatever they run; " +
				"name the Deployment, DaemonSet or StatefulSet of these pods, or a provider that shares out requests",
		}
	}
	return r.Capabilities().Check(v1beta1.ProviderKubernetes, c)
}

// get reads from the cache, nil where there is no such Service.
func (r *Router) get(ctx context.Context, namespace, name string) (*corev1.Service, error) {
	s := &corev1.Service{}
	err := r.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s)
	switch {
	case err == nil:
		return s, nil
	case apierrors.IsNotFound(err):
		return nil, nil
	default:
		return nil, fmt.Errorf("read Service %s/%s: %w", namespace, name, err)
	}
}
