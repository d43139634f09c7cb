package istio

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// rootNamespace is where Istio looks for what holds in the whole mesh, unless its
// configuration says otherwise.
const rootNamespace = "istio-system"

// hostIndex finds DestinationRules and VirtualServices by their hosts in the form of hostKey.
const hostIndex = "host"

// Index is for providers.Watch: it has objects found by host. Without that, routers look
// through all that there are.
func Index(ctx context.Context, indexer client.FieldIndexer, kind client.Object) error {
	if err := indexer.IndexField(ctx, kind, hostIndex, hostsIndexed); err != nil {
		return fmt.Errorf("index of hosts: %w", err)
	}
	return nil
}

func hostsIndexed(o client.Object) (keys []string) {
	switch o := o.(type) {
	case *networkingv1.DestinationRule:
		if strings.HasPrefix(o.Spec.Host, "*") {
			return []string{"*"}
		}
		return []string{hostKey(o.Spec.Host, o.Namespace)}
	case *networkingv1.VirtualService:
		for _, h := range o.Spec.Hosts {
			keys = append(keys, hostKey(h, o.Namespace))
		}
	}
	return keys
}

// list reads what the index has for a host, or all that there is without the index.
func (r *Router) list(ctx context.Context, into client.ObjectList, key string, of ...client.ListOption) error {
	of = append(of, client.UnsafeDisableDeepCopy)
	err := r.client.List(ctx, into, append(of, client.MatchingFields{hostIndex: key})...)
	if err != nil && !meta.IsNoMatchError(err) {
		err = r.client.List(ctx, into, of...)
	}
	if err != nil {
		return explain(fmt.Errorf("list by host %s: %w", key, err))
	}
	return nil
}

// destinationRule has the spec's policy, or that of the user's rule for the apex
// Service, for the same namespaces. Where neither says anything it is empty, and not to be
// written: Istio would go by it instead of a rule for a wildcard. For the same reason it has
// of that rule what the spec does not set.
func destinationRule(c *v1beta1.Canary, host string, have belongings) (*networkingv1.DestinationRule, error) {
	policy, err := decodeIfSet[networking.TrafficPolicy]("trafficPolicy", c.Spec.Service.TrafficPolicy)
	if err != nil {
		return nil, err
	}
	rule := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: host, Namespace: c.Namespace}}
	rule.Spec.Host, rule.Spec.TrafficPolicy = host, policy
	users := have.rule
	switch {
	case users == nil:
	case policy != nil && isWildcard(users):
		rule.Spec.TrafficPolicy = overlaid(policy, users.Spec.TrafficPolicy)
	case policy == nil && !isWildcard(users):
		rule.Spec.TrafficPolicy, rule.Spec.ExportTo = users.Spec.TrafficPolicy, users.Spec.ExportTo
	}
	return rule, nil
}

// overlaid is the user's policy with what the spec sets, which for single ports is the same.
func overlaid(spec, users *networking.TrafficPolicy) *networking.TrafficPolicy {
	out := proto.CloneOf(users)
	if len(spec.PortLevelSettings) > 0 {
		out.PortLevelSettings = nil
	}
	for _, p := range out.PortLevelSettings {
		p.LoadBalancer, p.Tls = set(spec.LoadBalancer, p.LoadBalancer), set(spec.Tls, p.Tls)
		p.ConnectionPool = set(spec.ConnectionPool, p.ConnectionPool)
		p.OutlierDetection = set(spec.OutlierDetection, p.OutlierDetection)
	}
	says := spec.ProtoReflect()
	fields := says.Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); says.Has(f) {
			out.ProtoReflect().Set(f, says.Get(f))
		}
	}
	return out
}

func isWildcard(rule *networkingv1.DestinationRule) bool {
	return strings.HasPrefix(rule.Spec.Host, "*")
}

// usersRule is the user's DestinationRule whose traffic policy holds for the apex
// Service, nil if he has none: one for that very host, the oldest if he has several. Where the
// spec has a policy it is one for a wildcard instead, of the namespace or else of the whole mesh,
// the most specific. It is the cache's own.
func (r *Router) usersRule(ctx context.Context, canary *v1beta1.Canary) (*networkingv1.DestinationRule, error) {
	if canary.Spec.Service.TrafficPolicy != nil {
		return r.wildcardRule(ctx, canary)
	}
	apex := apexKey(canary)
	rules := &networkingv1.DestinationRuleList{}
	if err := r.list(ctx, rules, hostKey(apex.Name, apex.Namespace), client.InNamespace(canary.Namespace)); err != nil {
		return nil, err
	}
	var found *networkingv1.DestinationRule
	for _, rule := range rules.Items {
		if applies(rule) && isHost(rule.Spec.Host, apex.Name, apex.Namespace) && (found == nil || older(rule, found)) {
			found = rule
		}
	}
	return found, nil
}

func (r *Router) wildcardRule(ctx context.Context, canary *v1beta1.Canary) (*networkingv1.DestinationRule, error) {
	apex := apexKey(canary)
	rules := &networkingv1.DestinationRuleList{}
	if err := r.list(ctx, rules, "*"); err != nil {
		return nil, err
	}
	var found *networkingv1.DestinationRule
	for _, namespace := range []string{canary.Namespace, rootNamespace} {
		for _, rule := range rules.Items {
			if rule.Namespace != namespace || !applies(rule) || !covers(rule.Spec.Host, apex.Name, apex.Namespace) || !exported(rule.Spec.ExportTo, rule.Namespace, apex.Namespace) {
				continue
			}
			longer := found == nil || len(rule.Spec.Host) > len(found.Spec.Host)
			if longer || len(rule.Spec.Host) == len(found.Spec.Host) && older(rule, found) {
				found = rule
			}
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, nil //nolint:nilnil // he has none
}

func applies(rule *networkingv1.DestinationRule) bool {
	return rule.Spec.TrafficPolicy != nil && rule.Spec.WorkloadSelector == nil
}

// exported tells whether an object of a namespace holds in another.
func exported(to []string, from, in string) bool {
	if len(to) == 0 {
		return true
	}
	for _, t := range to {
		if t == "*" || t == in || t == "." && from == in {
			return true
		}
	}
	return false
}

func older(a, b client.Object) bool {
	x, y := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	if !x.Equal(&y) {
		return x.Before(&y)
	}
	if a.GetName() != b.GetName() {
		return a.GetName() < b.GetName()
	}
	return a.GetNamespace() < b.GetNamespace()
}
