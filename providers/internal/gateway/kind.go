package gateway

import (
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/gateway/rules"
)

// Kind is a kind of route in one version of its API.
type Kind struct {
	// GVK is what it is called.
	GVK schema.GroupVersionKind
	// New returns an empty object.
	New func() client.Object
	// Make returns an object with that spec. The error is a *providers.InvalidError for
	// what the kind can't express.
	Make func(meta metav1.ObjectMeta, spec gatewayv1.HTTPRouteSpec) (client.Object, error)
	// Read returns the spec and what controllers say of an object that New has made. Of
	// a kind that is not for HTTP only the backends of each rule are read.
	Read func(o client.Object) (gatewayv1.HTTPRouteSpec, []gatewayv1.RouteParentStatus)
	// NewList returns an empty list of such objects.
	NewList func() client.ObjectList
	// Lossy is true when Read does not give all that Make takes, so that an object of
	// a user's can't be taken over.
	Lossy bool
}

// HTTPRoute is the Gateway API's HTTPRoute.
func HTTPRoute() Kind {
	return Kind{
		GVK:     schema.GroupVersion(gatewayv1.GroupVersion).WithKind("HTTPRoute"),
		New:     func() client.Object { return &gatewayv1.HTTPRoute{} },
		NewList: func() client.ObjectList { return &gatewayv1.HTTPRouteList{} },
		Make: func(meta metav1.ObjectMeta, spec gatewayv1.HTTPRouteSpec) (client.Object, error) {
			return &gatewayv1.HTTPRoute{ObjectMeta: meta, Spec: spec}, nil
		},
		Read: func(o client.Object) (gatewayv1.HTTPRouteSpec, []gatewayv1.RouteParentStatus) {
			r := o.(*gatewayv1.HTTPRoute) //nolint:forcetypeassert // New has made it
			return r.Spec, r.Status.Parents
		},
	}
}

// HTTPRouteV1Beta1 is the same object in the version of clusters whose Gateway API is
// older than 1.0.
func HTTPRouteV1Beta1() Kind {
	return Kind{
		GVK:     schema.GroupVersion(gatewayv1beta1.GroupVersion).WithKind("HTTPRoute"),
		New:     func() client.Object { return &gatewayv1beta1.HTTPRoute{} },
		NewList: func() client.ObjectList { return &gatewayv1beta1.HTTPRouteList{} },
		Make: func(meta metav1.ObjectMeta, spec gatewayv1.HTTPRouteSpec) (client.Object, error) {
			return &gatewayv1beta1.HTTPRoute{ObjectMeta: meta, Spec: spec}, nil
		},
		Read: func(o client.Object) (gatewayv1.HTTPRouteSpec, []gatewayv1.RouteParentStatus) {
			r := o.(*gatewayv1beta1.HTTPRoute) //nolint:forcetypeassert // New has made it
			return r.Spec, r.Status.Parents
		},
	}
}

// GRPCRoute is the Gateway API's GRPCRoute.
func GRPCRoute() Kind {
	return Kind{
		GVK:     schema.GroupVersion(gatewayv1.GroupVersion).WithKind("GRPCRoute"),
		New:     func() client.Object { return &gatewayv1.GRPCRoute{} },
		NewList: func() client.ObjectList { return &gatewayv1.GRPCRouteList{} },
		Make: func(meta metav1.ObjectMeta, spec gatewayv1.HTTPRouteSpec) (client.Object, error) {
			r, err := rules.MakeGRPC(meta, spec)
			if err != nil {
				return nil, err
			}
			return r, nil
		},
		Read: func(o client.Object) (gatewayv1.HTTPRouteSpec, []gatewayv1.RouteParentStatus) {
			r := o.(*gatewayv1.GRPCRoute) //nolint:forcetypeassert // New has made it
			return rules.ReadGRPC(r.Spec), r.Status.Parents
		},
		Lossy: true,
	}
}

// kinds finds out which of several versions the cluster serves, and remembers it.
type kinds struct {
	mapper  func() meta.RESTMapper
	choices []Kind

	mu    sync.Mutex
	found *Kind
}

// served returns the first kind that the cluster serves. Without any the error is
// providers.ErrNotInstalled.
func (k *kinds) served() (*Kind, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.found != nil {
		return k.found, nil
	}
	for i, choice := range k.choices {
		_, err := k.mapper().RESTMapping(choice.GVK.GroupKind(), choice.GVK.Version)
		switch {
		case err == nil:
			k.found = &k.choices[i]
			return k.found, nil
		case !meta.IsNoMatchError(err):
			return nil, fmt.Errorf("look for %s: %w", choice.GVK, err)
		}
	}
	names := ""
	for i, choice := range k.choices {
		if i > 0 {
			names += " nor "
		}
		names += choice.GVK.GroupKind().String() + " " + choice.GVK.Version
	}
	return nil, fmt.Errorf("%w: this cluster serves no %s", providers.ErrNotInstalled, names)
}

// each returns the first of each kind, whatever its version, that the cluster serves.
func (k *kinds) each() (out []*Kind, err error) {
	seen := map[schema.GroupKind]bool{}
	for i, choice := range k.choices {
		gk := choice.GVK.GroupKind()
		if seen[gk] {
			continue
		}
		_, err := k.mapper().RESTMapping(gk, choice.GVK.Version)
		switch {
		case err == nil:
			seen[gk], out = true, append(out, &k.choices[i])
		case !meta.IsNoMatchError(err):
			return nil, fmt.Errorf("look for %s: %w", choice.GVK, err)
		}
	}
	return out, nil
}

// forget has the next call look again, as when a kind was removed from the cluster.
func (k *kinds) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.found = nil
}
