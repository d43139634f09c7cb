package istio

import (
	"context"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/original"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
)

// belongings are what a user has and we build on.
type belongings struct {
	original *original.VirtualService      // nil: the VirtualService is ours
	rule     *networkingv1.DestinationRule // whose traffic policy holds for the apex Service; nil: he has none
}

func (b belongings) key() (key string) {
	if b.rule != nil {
		key = string(b.rule.UID) + " " + b.rule.ResourceVersion
	}
	if b.original != nil {
		key += " " + b.original.Encoded
	}
	return key
}

func (r *Router) belongings(ctx context.Context, route providers.Route, read original.Read) (b belongings, err error) {
	canary := route.Canary
	if b.rule, err = r.rules.Users(ctx, canary); err != nil {
		return b, err
	}
	vs := &networkingv1.VirtualService{}
	found, err := r.objects.Get(ctx, settings.Apex(canary), vs)
	if err != nil || !found || r.owner(route).Of(vs) != ownership.Users {
		return b, err
	}
	b.original, err = read(ctx, vs, canary)
	return b, err
}
