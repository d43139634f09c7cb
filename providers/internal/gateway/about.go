package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/providers"
)

// About is for providers.Watch: it tells which Canaries routes of other names are rivals of, which
// are those of the Services and Gateways that they are attached to.
func About(kinds ...Kind) *providers.About {
	of := func(o client.Object) (Kind, bool) {
		for _, k := range kinds {
			if fmt.Sprintf("%T", k.New()) == fmt.Sprintf("%T", o) {
				return k, true
			}
		}
		return Kind{}, false
	}
	return &providers.About{
		Services: func(ctx context.Context, reader client.Reader, o client.Object) []types.NamespacedName {
			k, ok := of(o)
			if !ok {
				return nil
			}
			return rivalsOf(ctx, reader, k, o)
		},
		Alike: func(before, after client.Object) bool {
			k, ok := of(after)
			return !ok || sameRival(k, before, after)
		},
	}
}

// rivalsOf are the Services of the parents of a route and the names of the routes beside it.
func rivalsOf(ctx context.Context, reader client.Reader, k Kind, o client.Object) (out []types.NamespacedName) {
	spec, status := k.Read(o)
	for _, p := range spec.ParentRefs {
		p = inNamespace(p, o.GetNamespace())
		switch {
		case refusedBy(status, p, o.GetNamespace()):
		case ptr.Deref(p.Kind, "Gateway") == "Service":
			out = append(out, types.NamespacedName{Namespace: string(*p.Namespace), Name: string(p.Name)})
		default:
			beside, err := routesOf(ctx, reader, &k, indexed(p, o.GetNamespace()))
			if err != nil {
				log.FromContext(ctx).Error(err, "Looking for routes of the same Gateway", "route", client.ObjectKeyFromObject(o))
			}
			for _, other := range beside {
				if client.ObjectKeyFromObject(other) != client.ObjectKeyFromObject(o) && isBeside(k, other, p, spec.Hostnames) {
					name, _, _ := strings.Cut(other.GetName(), ".")
					out = append(out, types.NamespacedName{Namespace: other.GetNamespace(), Name: name})
				}
			}
		}
	}
	return out
}

// isBeside tells whether a route is attached to a parent, with some of the hosts.
func isBeside(k Kind, o client.Object, parent gatewayv1.ParentReference, hostnames []gatewayv1.Hostname) bool {
	has, _ := k.Read(o)
	return (attachedRoute{hostnames: hostnames}).shares(attachedRoute{hostnames: has.Hostnames}) &&
		slices.ContainsFunc(has.ParentRefs, func(p gatewayv1.ParentReference) bool { return meets(inNamespace(p, o.GetNamespace()), parent) })
}

// sameRival tells whether two versions of a route take the same requests, wherever these are led to.
func sameRival(k Kind, before, after client.Object) bool {
	if k.Lossy && before.GetGeneration() != after.GetGeneration() {
		return false
	}
	had, said := k.Read(before)
	has, says := k.Read(after)
	if !equality.Semantic.DeepEqual(had.ParentRefs, has.ParentRefs) || !equality.Semantic.DeepEqual(had.Hostnames, has.Hostnames) || len(had.Rules) != len(has.Rules) {
		return false
	}
	for i := range has.Rules {
		if !equality.Semantic.DeepEqual(had.Rules[i].Matches, has.Rules[i].Matches) {
			return false
		}
	}
	for _, p := range has.ParentRefs {
		if refusedBy(said, p, before.GetNamespace()) != refusedBy(says, p, after.GetNamespace()) {
			return false
		}
	}
	return true
}
