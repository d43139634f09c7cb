package rivals

import (
	"context"
	"slices"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
	"github.com/sluice-delivery/sluice/providers/istio/internal/match"
	"github.com/sluice-delivery/sluice/providers/istio/internal/objects"
)

// About gives the Services that a VirtualService or a DestinationRule is about by its hosts, and the
// names of the VirtualServices that are for one of its hosts too. A rule for a wildcard is about all Services
// with a rule that it covers.
func About(ctx context.Context, r objects.Reader, o client.Object) []types.NamespacedName {
	out := hosts.About(o)
	switch o := o.(type) {
	case *networkingv1.VirtualService:
		for _, host := range o.Spec.Hosts {
			found := &networkingv1.VirtualServiceList{}
			if err := r.List(ctx, found, hosts.Key(host, o.Namespace)); err != nil {
				log.FromContext(ctx).Error(err, "Looking for VirtualServices of the same host", "host", host)
			}
			for _, other := range found.Items {
				if client.ObjectKeyFromObject(other) != client.ObjectKeyFromObject(o) && hasHost(other, host, o.Namespace) {
					out = append(out, client.ObjectKeyFromObject(other))
				}
			}
		}
	case *networkingv1.DestinationRule:
		if len(o.Spec.Host) == 0 || o.Spec.Host[0] != '*' {
			break
		}
		found := &networkingv1.DestinationRuleList{}
		if err := r.All(ctx, found); err != nil {
			log.FromContext(ctx).Error(err, "Looking for DestinationRules that a wildcard covers", "host", o.Spec.Host)
		}
		for _, other := range found.Items {
			for _, service := range hosts.About(other) {
				if hosts.Covers(o.Spec.Host, service.Name, service.Namespace) {
					out = append(out, service)
				}
			}
		}
	}
	return out
}

// Alike tells whether two versions of an object have the same effect on the Canaries that About
// gives. Of a VirtualService that is which requests it takes, wherever it leads them.
func Alike(before, after client.Object) bool {
	had, ok := before.(*networkingv1.VirtualService)
	has, too := after.(*networkingv1.VirtualService)
	if !ok || !too {
		return before.GetUID() == after.GetUID() && before.GetGeneration() == after.GetGeneration()
	}
	return slices.Equal(had.Spec.Hosts, has.Spec.Hosts) && slices.Equal(had.Spec.Gateways, has.Spec.Gateways) && slices.Equal(had.Spec.ExportTo, has.Spec.ExportTo) &&
		(len(had.Spec.Tcp) == 0) == (len(has.Spec.Tcp) == 0) && (len(had.Spec.Tls) == 0) == (len(has.Spec.Tls) == 0) &&
		had.DeletionTimestamp.IsZero() == has.DeletionTimestamp.IsZero() &&
		slices.EqualFunc(had.Spec.Http, has.Spec.Http, func(a, b *networking.HTTPRoute) bool { return match.Same(a.Match, b.Match) })
}
