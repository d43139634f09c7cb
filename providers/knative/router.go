// Package knative moves traffic with spec.traffic of the Service of Knative that is the target: it names the revision that
// serves and the one under analysis, each with its share.
//
// What was there before the Canary is kept in an annotation until it is given back.
package knative

import (
	"context"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Router is the providers.Router for Knative.
type Router struct {
	reader  client.Reader
	applier *ssa.Applier
}

var _ providers.Router = (*Router)(nil)

// New returns a router that reads through reader, an informer cache whose scheme needs Knative's kind, and writes by a.
func New(reader client.Reader, a *ssa.Applier) *Router { return &Router{reader: reader, applier: a} }

// Capabilities implements providers.Router.
func (*Router) Capabilities() providers.Capabilities { return providers.Capabilities{Weighted: true} }

// Ignores implements providers.Ignorer.
func (*Router) Ignores() map[string]string {
	return providers.IgnoresAll("with Knative that is what its Service and its ingress say")
}

// taking is what is taken over of the user's Service.
var taking = custom.Taking{GVK: knative.GVK, Fields: []string{"traffic"}}

// Observe implements providers.Router.
func (r *Router) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	c := route.Canary
	if c.DeletionTimestamp.IsZero() {
		if err := r.refuse(route); err != nil {
			return providers.State{}, err
		}
	}
	live, err := r.get(ctx, c)
	if err != nil || live == nil || live.Annotations[knative.PrimaryAnnotation] == "" {
		return providers.State{}, err
	}
	state := stateOf(live)
	if taking.IsBack(resource(live), c) || !custom.Taken(resource(live)) && !flaggers(live) {
		state = providers.State{} // whatever it leads to is the user's
	}
	if !c.DeletionTimestamp.IsZero() {
		return state, nil
	}
	if err := foreign(live); err != nil {
		return providers.State{}, err
	}
	want, err := r.desired(live, route.Traffic)
	if err != nil {
		return state, err
	}
	if taking.TakenOver(resource(live), want) != nil || !r.applier.Observed(live) {
		return state, nil
	}
	if against, final := verdict(live, route.Traffic); against != "" {
		state.Detail, state.Refused = fmt.Sprintf("Service %s of Knative: %s", live.Name, against), final
		return state, nil
	}
	return providers.State{Exists: true, Traffic: route.Traffic, InSync: true}, nil
}

// Apply implements providers.Router.
func (r *Router) Apply(ctx context.Context, route providers.Route) error {
	if err := route.Traffic.Validate(); err != nil {
		return err
	}
	if err := r.refuse(route); err != nil {
		return err
	}
	live, err := r.get(ctx, route.Canary)
	if err != nil {
		return err
	}
	if live == nil || live.Annotations[knative.PrimaryAnnotation] == "" {
		return nil // there is no revision yet to lead to, and nothing is in sync until there is
	}
	if err := foreign(live); err != nil {
		return err
	}
	want, err := r.desired(live, route.Traffic)
	if err != nil {
		return err
	}
	patch := taking.TakenOver(resource(live), want)
	if patch == nil {
		return nil
	}
	return custom.Explain(knative.GVK, r.applier.Merge(ctx, patch, live))
}

// Release implements providers.Router: spec.traffic is what it was, and in the end no revision is the primary any more.
func (r *Router) Release(ctx context.Context, route providers.Route) error {
	live, err := r.get(ctx, route.Canary)
	if err != nil || live == nil || live.Annotations[knative.PrimaryAnnotation] == "" || foreign(live) != nil {
		return err
	}
	original, err := original(live)
	if err != nil {
		return err
	}
	if route.Again { // somebody who had read it in the release may write that once more
		patch := taking.Back(resource(live), original)
		if patch == nil {
			return nil
		}
		return custom.Explain(knative.GVK, r.applier.Merge(ctx, patch, live))
	}
	ours := metav1.ObjectMeta{Annotations: map[string]string{knative.PrimaryAnnotation: "", knative.PromotedAnnotation: ""}}
	return custom.Explain(knative.GVK, r.applier.Merge(ctx, taking.Restored(resource(live), original, ours), live))
}

// refuse says what of the spec and of the traffic Knative can't do.
func (r *Router) refuse(route providers.Route) error {
	c, t := route.Canary, route.Traffic
	if !knative.Is(c) {
		return &providers.InvalidError{
			Field: "spec.targetRef", Value: c.Spec.TargetRef.APIVersion + " " + c.Spec.TargetRef.Kind, Allowed: "with provider knative, serving.knative.dev/v1 Service",
		}
	}
	if err := r.Capabilities().Check(v1beta1.ProviderKnative, c); err != nil {
		return err
	}
	unsupported := func(field, why string) error {
		return &providers.UnsupportedError{Router: v1beta1.ProviderKnative, Field: field, Why: why}
	}
	switch {
	case t.Matched:
		return unsupported("spec.analysis.match", "it cannot route by headers")
	case t.Mirror > 0:
		return unsupported("spec.analysis.mirror", "it cannot mirror requests")
	case t.Sessions != (providers.Sessions{}):
		return unsupported("spec.analysis.sessionAffinity", "it cannot keep a user on a version")
	default:
		return nil
	}
}

// foreign refuses a Service that something else makes, which would undo what is written.
func foreign(live *knative.Service) error {
	if metav1.GetControllerOfNoCopy(live) != nil {
		return providers.Conflict(knative.GVK.Kind, live)
	}
	return nil
}

// desired is the part of the Service that we own, for the traffic of a route.
func (r *Router) desired(live *knative.Service, t providers.Traffic) (*custom.Resource, error) {
	before, err := original(live)
	if err != nil {
		return nil, err
	}
	out := &custom.Resource{
		ObjectMeta: metav1.ObjectMeta{Namespace: live.Namespace, Name: live.Name, Annotations: map[string]string{}},
		Spec:       map[string]any{"traffic": append(shares(live, t), tagged(before.Spec)...)},
	}
	before.Note(&out.ObjectMeta)
	return out, nil
}

// shares are the revisions that get requests, each with its share. One that gets none is not named: where it can't serve
// Knative would change nothing at all. The one under analysis is named, and not the newest whatever that is, so that no
// revision gets requests that was not looked at.
func shares(live *knative.Service, t providers.Traffic) []any {
	primary, canary := live.Annotations[knative.PrimaryAnnotation], live.Status.LatestCreatedRevisionName
	if primary == canary {
		return []any{map[string]any{"revisionName": primary, "percent": int64(100)}}
	}
	var out []any
	for _, side := range []struct {
		name    string
		percent int32
	}{{primary, t.Primary}, {canary, t.Canary}} {
		if side.percent > 0 {
			out = append(out, map[string]any{"revisionName": side.name, "percent": int64(side.percent)})
		}
	}
	return out
}

// tagged are the user's entries with addresses of their own, which lead where they led, without a share of what comes by the
// Service's own address.
func tagged(spec map[string]any) []any {
	list, _ := spec["traffic"].([]any)
	var out []any
	for _, one := range list {
		if t, _ := one.(map[string]any); t["tag"] != nil && t["tag"] != "" {
			t = maps.Clone(t)
			delete(t, "percent")
			out = append(out, t)
		}
	}
	return out
}

// original is what spec.traffic was. Before it was Flagger's it was Knative's default.
func original(live *knative.Service) (*custom.Original, error) {
	return taking.Original(resource(live), metav1.ObjectMeta{},
		func(map[string]any) bool { return flaggers(live) },
		func() map[string]any { return map[string]any{} },
	)
}

// flaggers tells whether spec.traffic is as Flagger writes it: shares of the newest revision and of the primary, and nothing else.
func flaggers(live *knative.Service) bool {
	list, _ := live.Spec["traffic"].([]any)
	var newest, primary bool
	for _, one := range list {
		t, _ := one.(map[string]any)
		if t["tag"] != nil {
			return false
		}
		newest = newest || t["latestRevision"] == true
		primary = primary || t["revisionName"] == live.Annotations[knative.PrimaryAnnotation]
	}
	return len(list) == 2 && newest && primary
}

func resource(live *knative.Service) *custom.Resource {
	return &custom.Resource{ObjectMeta: live.ObjectMeta, Spec: live.Spec}
}

// stateOf is what spec.traffic asks for: what is not the primary's is the canary's.
func stateOf(live *knative.Service) providers.State {
	primary := live.Annotations[knative.PrimaryAnnotation]
	list, _ := live.Spec["traffic"].([]any)
	state := providers.State{}
	var of int64
	for _, one := range list {
		t, _ := one.(map[string]any)
		if t["revisionName"] == primary && primary != "" {
			state.Exists = true
			percent, _ := t["percent"].(int64)
			of += percent
		} else if name, _ := t["revisionName"].(string); name != "" && name == live.Status.LatestCreatedRevisionName {
			state.Exists = true
		}
	}
	if state.Exists {
		share := int32(min(max(of, 0), 100)) //nolint:gosec // 0 to 100
		state.Traffic = providers.Traffic{Primary: share, Canary: 100 - share}
	}
	return state
}

// verdict says what of the traffic Knative does not do yet, and whether it won't.
func verdict(live *knative.Service, t providers.Traffic) (against string, final bool) {
	if live.Status.ObservedGeneration < live.Generation {
		return fmt.Sprintf("its controller has not looked at generation %d yet", live.Generation), false
	}
	if routes := live.Condition("RoutesReady"); routes.Status != metav1.ConditionTrue {
		return fmt.Sprintf("RoutesReady is %s (%s): %s", routes.Status, routes.Reason, routes.Message), routes.Status == metav1.ConditionFalse
	}
	has := map[string]int64{}
	for _, share := range live.Status.Traffic {
		if share.Percent != nil {
			has[share.RevisionName] += *share.Percent
		}
	}
	for _, one := range shares(live, t) {
		share, _ := one.(map[string]any)
		name, _ := share["revisionName"].(string)
		if has[name] != share["percent"] {
			return fmt.Sprintf("revision %s has %d%% of the requests, not %d%%", name, has[name], share["percent"]), false
		}
	}
	return "", false
}

// get reads from the cache, nil where there is no such object.
func (r *Router) get(ctx context.Context, c *v1beta1.Canary) (*knative.Service, error) {
	out := &knative.Service{}
	found, err := custom.Get(ctx, r.reader, knative.GVK, client.ObjectKey{Namespace: c.Namespace, Name: c.Spec.TargetRef.Name}, out)
	if err != nil || !found {
		return nil, err
	}
	return out, nil
}
