package linkerd

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

const (
	clusterDomain = "cluster.local"
	// originalAnnotation holds the overrides of a user's profile from before it was taken over.
	originalAnnotation = "sluice.dev/original"
	// skipAnnotation has Linkerd's adaptor for SMI leave a profile as it is, whatever a TrafficSplit
	// of the Service says. It goes by its presence alone, so that the value tells ours from a user's.
	// Source: https://github.com/linkerd/linkerd-smi
	skipAnnotation = "smi.linkerd.io/skip"
	skipValue      = "sluice"
)

// profiles moves traffic by the overrides of a ServiceProfile, for clusters without
// the Gateway API. It only shares out by weight.
type profiles struct {
	client  client.Client
	applier *ssa.Applier
}

var _ providers.Router = (*profiles)(nil)

// Capabilities implements providers.Router.
func (*profiles) Capabilities() providers.Capabilities {
	return providers.Capabilities{Weighted: true, ByAddress: true}
}

// Observe implements providers.Router.
func (p *profiles) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	live, err := p.get(ctx, route.Canary)
	if err != nil {
		return providers.State{}, err
	}
	state := providers.State{Ignored: ignored(route.Canary, live)}
	if live != nil && route.Owner().Of(live) != ownership.Others {
		state.Traffic, state.Exists = overridden(live, route.Canary)
	}
	if !route.Canary.DeletionTimestamp.IsZero() {
		return state, nil
	}
	want, err := p.plan(route, live)
	if err != nil {
		return state, err
	}
	same, err := p.applier.InSync(ctx, want, ssa.ProtoJSON)
	if err != nil || !same {
		return state, explain(err)
	}
	return providers.State{Exists: true, Traffic: route.Traffic, InSync: true, Ignored: state.Ignored}, nil
}

// Apply implements providers.Router.
func (p *profiles) Apply(ctx context.Context, route providers.Route) error {
	live, err := p.get(ctx, route.Canary)
	if err != nil {
		return err
	}
	want, err := p.plan(route, live)
	if err != nil {
		return err
	}
	return explain(p.applier.Apply(ctx, want, ssa.ProtoJSON))
}

// Release implements providers.Router. A profile that we made is deleted; a
// user's has the overrides that it had.
func (p *profiles) Release(ctx context.Context, route providers.Route) error {
	live, err := p.get(ctx, route.Canary)
	if err != nil || live == nil {
		return err
	}
	switch owner := route.Owner().Of(live); {
	case owner == ownership.Ours && live.DeletionTimestamp.IsZero():
		return explain(p.applier.Delete(ctx, live))
	case owner == ownership.Users && live.Annotations[ssa.AppliedAnnotation] != "":
		return p.restore(ctx, live, route.Again)
	default:
		return nil
	}
}

// restore writes back the overrides that were there, or none. Where that is to be done once more, as somebody who had read
// them in the release may write that, it is still known what they were.
func (p *profiles) restore(ctx context.Context, live *ServiceProfile, again bool) error {
	var overrides []WeightedDst // null removes what is there
	if before := live.Annotations[originalAnnotation]; before != "" {
		if err := json.Unmarshal([]byte(before), &overrides); err != nil {
			return &providers.InvalidError{
				Field: fmt.Sprintf("ServiceProfile %s/%s: metadata.annotations[%s]", live.Namespace, live.Name, originalAnnotation), Value: before,
				Allowed: "what the operator has written there; if it is lost, remove the annotation: " + err.Error(),
			}
		}
	}
	spec := map[string]any{"spec": map[string]any{"dstOverrides": overrides}}
	if again {
		if equality.Semantic.DeepEqual(overrides, live.Spec.DstOverrides) {
			return nil
		}
		return explain(p.applier.Merge(ctx, spec, live))
	}
	annotations := map[string]any{ssa.AppliedAnnotation: nil, originalAnnotation: nil}
	if live.Annotations[skipAnnotation] == skipValue {
		annotations[skipAnnotation] = nil
	}
	spec["metadata"] = map[string]any{"annotations": annotations}
	return explain(p.applier.Merge(ctx, spec, live))
}

// plan returns the profile that expresses what is asked for.
func (p *profiles) plan(route providers.Route, live *ServiceProfile) (*ServiceProfile, error) {
	c := route.Canary
	if err := route.Traffic.Validate(); err != nil {
		return nil, err
	}
	if err := refuse(c, live); err != nil {
		return nil, err
	}
	if err := addressed(route); err != nil {
		return nil, err
	}
	want := &ServiceProfile{ObjectMeta: metav1.ObjectMeta{
		Namespace: c.Namespace, Name: nameOf(c), Labels: map[string]string{}, Annotations: map[string]string{},
	}}
	_, primary, canary := c.ServiceNames()
	want.Spec.DstOverrides = []WeightedDst{
		{Authority: qualified(c, primary), Weight: *resource.NewQuantity(int64(route.Traffic.Primary), resource.DecimalSI)},
		{Authority: qualified(c, canary), Weight: *resource.NewQuantity(int64(route.Traffic.Canary), resource.DecimalSI)},
	}
	owner := ownership.Ours
	if live != nil {
		owner = route.Owner().Of(live)
	}
	if !usersSkip(live) {
		want.Annotations[skipAnnotation] = skipValue
	}
	switch owner {
	case ownership.Ours:
		if apex := c.Spec.Service.Apex; apex != nil {
			maps.Copy(want.Labels, apex.Labels)
			maps.Copy(want.Annotations, apex.Annotations)
		}
		route.Owner().Mark(want)
		want.Spec.Routes = &[]struct{}{}
	case ownership.Users:
		before, err := original(live, c)
		if err != nil {
			return nil, err
		}
		if before != "" {
			want.Annotations[originalAnnotation] = before
		}
	case ownership.Others:
		return nil, providers.Conflict("ServiceProfile", live)
	}
	return want, nil
}

// usersSkip tells whether a user has had Linkerd's adaptor leave a profile as it is.
func usersSkip(live *ServiceProfile) bool {
	if live == nil {
		return false
	}
	value, has := live.Annotations[skipAnnotation]
	return has && value != skipValue
}

// original are the overrides that a user's profile has, or had before it was taken over.
func original(live *ServiceProfile, c *v1beta1.Canary) (string, error) {
	if live.Annotations[ssa.AppliedAnnotation] != "" {
		return live.Annotations[originalAnnotation], nil
	}
	if _, taken := overridden(live, c); taken || len(live.Spec.DstOverrides) == 0 {
		return "", nil
	}
	raw, err := json.Marshal(live.Spec.DstOverrides)
	if err != nil {
		return "", fmt.Errorf("encode the overrides of ServiceProfile %s/%s: %w", live.Namespace, live.Name, err)
	}
	return string(raw), nil
}

// refuse names what of a release a profile's overrides can't do.
func refuse(c *v1beta1.Canary, live *ServiceProfile) error {
	a := c.GetAnalysis()
	for _, f := range []struct {
		set  bool
		name string
	}{
		{len(a.Match) > 0, "spec.analysis.match"},
		{a.Mirror, "spec.analysis.mirror"},
		{a.SessionAffinity != nil, "spec.analysis.sessionAffinity"},
	} {
		if f.set {
			return &providers.UnsupportedError{Router: v1beta1.ProviderLinkerd, Field: f.name, Why: weightsAlone(live)}
		}
	}
	return (*profiles)(nil).Capabilities().Check(v1beta1.ProviderLinkerd, c)
}

// ignored names the fields of spec.service that have no effect, as a profile's overrides say nothing of
// them. Flagger takes them with Linkerd, and does nothing about them.
func ignored(c *v1beta1.Canary, live *ServiceProfile) string {
	reasons := providers.IgnoresAll(weightsAlone(live))
	for field := range ignores() {
		delete(reasons, field) // which is told already
	}
	return strings.Join(providers.IgnoredFor(reasons, c), "; ")
}

// weightsAlone says why there is nothing but weights.
func weightsAlone(live *ServiceProfile) string {
	if live == nil || ownership.Marked(live) {
		return "there were no routes of the Gateway API in this cluster, and a ServiceProfile shares out by weight only"
	}
	return "ServiceProfile " + live.Name + ", which Linkerd prefers to routes, shares out by weight only; delete it to have a route"
}

// overridden reads what a profile does with the requests of this Canary.
func overridden(live *ServiceProfile, c *v1beta1.Canary) (providers.Traffic, bool) {
	_, primary, canary := c.ServiceNames()
	var total, toCanary int64
	found := false
	for _, d := range live.Spec.DstOverrides {
		total += d.Weight.MilliValue()
		host, _, _ := strings.Cut(d.Authority, ":")
		switch host {
		case qualified(c, canary):
			toCanary += d.Weight.MilliValue()
			found = true
		case qualified(c, primary):
			found = true
		}
	}
	if !found || total <= 0 {
		return providers.Traffic{}, false
	}
	percent := int32((toCanary*100 + total/2) / total) //nolint:gosec // 0 to 100
	return providers.Traffic{Primary: 100 - percent, Canary: percent}, true
}

// get reads from the cache, nil where there is no such profile.
func (p *profiles) get(ctx context.Context, c *v1beta1.Canary) (*ServiceProfile, error) {
	live := &ServiceProfile{}
	err := p.client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: nameOf(c)}, live)
	switch {
	case err == nil:
		return live, nil
	case apierrors.IsNotFound(err):
		return nil, nil
	default:
		return nil, explain(fmt.Errorf("read ServiceProfile %s/%s: %w", c.Namespace, nameOf(c), err))
	}
}

// nameOf is the profile's name: that of the apex Service, fully qualified.
func nameOf(c *v1beta1.Canary) string {
	apex, _, _ := c.ServiceNames()
	return qualified(c, apex)
}

func qualified(c *v1beta1.Canary, service string) string {
	return service + "." + c.Namespace + ".svc." + clusterDomain
}

// explain marks errors that mean that profiles are not served.
func explain(err error) error {
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("%w: %w", providers.ErrNotInstalled, err)
	}
	return err
}
