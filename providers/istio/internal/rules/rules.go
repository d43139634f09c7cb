// Package rules has the DestinationRules of the primary's and the canary's Service, and finds the
// user's from which they take their traffic policy.
package rules

import (
	"cmp"
	"context"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
	"github.com/sluice-delivery/sluice/providers/istio/internal/objects"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
)

// rootNamespace is where Istio looks for what holds in the whole mesh, unless its
// configuration says otherwise.
const rootNamespace = "istio-system"

// DestinationRule has the spec's policy, or that of the user's rule for the apex
// Service, for the same namespaces. Where neither says anything it is empty, and not to be
// written: Istio would go by it instead of a rule for a wildcard. For the same reason it has
// of that rule what the spec does not set.
func DestinationRule(c *v1beta1.Canary, host string, users *networkingv1.DestinationRule) (*networkingv1.DestinationRule, error) {
	policy, err := settings.TrafficPolicy(c)
	if err != nil {
		return nil, err
	}
	rule := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: host, Namespace: c.Namespace}}
	rule.Spec.Host, rule.Spec.TrafficPolicy = host, policy
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
		p.LoadBalancer, p.Tls = cmp.Or(spec.LoadBalancer, p.LoadBalancer), cmp.Or(spec.Tls, p.Tls)
		p.ConnectionPool = cmp.Or(spec.ConnectionPool, p.ConnectionPool)
		p.OutlierDetection = cmp.Or(spec.OutlierDetection, p.OutlierDetection)
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

// Finder finds the rules of users.
type Finder struct{ objects objects.Reader }

// NewFinder returns a finder of what a reader reads.
func NewFinder(r objects.Reader) Finder { return Finder{objects: r} }

// Users is the user's DestinationRule whose traffic policy holds for the apex
// Service, nil if he has none: one for that very host, the oldest if he has several. Where the
// spec has a policy it is one for a wildcard instead, of the namespace or else of the whole mesh,
// the most specific. It is the cache's own.
func (f Finder) Users(ctx context.Context, canary *v1beta1.Canary) (*networkingv1.DestinationRule, error) {
	if canary.Spec.Service.TrafficPolicy != nil {
		return f.wildcard(ctx, canary)
	}
	apex := settings.Apex(canary)
	rules := &networkingv1.DestinationRuleList{}
	if err := f.objects.List(ctx, rules, hosts.Key(apex.Name, apex.Namespace), client.InNamespace(canary.Namespace)); err != nil {
		return nil, err
	}
	var found *networkingv1.DestinationRule
	for _, rule := range rules.Items {
		if applies(rule) && hosts.IsHost(rule.Spec.Host, apex.Name, apex.Namespace) && (found == nil || objects.Older(rule, found)) {
			found = rule
		}
	}
	return found, nil
}

func (f Finder) wildcard(ctx context.Context, canary *v1beta1.Canary) (*networkingv1.DestinationRule, error) {
	apex := settings.Apex(canary)
	rules := &networkingv1.DestinationRuleList{}
	if err := f.objects.List(ctx, rules, "*"); err != nil {
		return nil, err
	}
	var found *networkingv1.DestinationRule
	for _, namespace := range []string{canary.Namespace, rootNamespace} {
		for _, rule := range rules.Items {
			if rule.Namespace != namespace || !applies(rule) || !hosts.Covers(rule.Spec.Host, apex.Name, apex.Namespace) || !objects.Exported(rule.Spec.ExportTo, rule.Namespace, apex.Namespace) {
				continue
			}
			longer := found == nil || len(rule.Spec.Host) > len(found.Spec.Host)
			if longer || len(rule.Spec.Host) == len(found.Spec.Host) && objects.Older(rule, found) {
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
