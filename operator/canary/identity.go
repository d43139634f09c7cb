package canary

import (
	"cmp"
	"context"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	ground "github.com/sluice-delivery/sluice/operator/world"
)

// reasonImmutable: a field was edited that can't be while the Canary lives, as it names what the Canary is about.
const reasonImmutable = "ImmutableField"

// pinned gives a Canary as it was when its primary began to serve: what names its target, its
// Services and its mesh is as its status has it, whatever the spec says by now. So traffic is
// kept safe, rolled back and given back where it is. The mistake names the field that was
// changed; nil where none was.
func pinned(c *v1beta1.Canary, defaultProvider string) (*v1beta1.Canary, *release.Mistake) {
	is := c.Status.Identity
	if is == nil {
		return c, nil
	}
	apex, _, _ := c.ServiceNames()
	out := c.DeepCopy()
	out.Spec.TargetRef.Kind, out.Spec.TargetRef.Name = is.TargetKind, is.TargetName
	out.Spec.Service.Name, out.Spec.Service.Headless = is.Apex, is.Headless
	wanted := c.GetProvider(defaultProvider)
	out.Spec.Provider = cmp.Or(is.Provider, wanted)
	for _, of := range []struct{ field, recorded, wanted string }{
		{"spec.targetRef.kind", is.TargetKind, c.Spec.TargetRef.Kind},
		{"spec.targetRef.name", is.TargetName, c.Spec.TargetRef.Name},
		{"spec.service.name", is.Apex, apex},
		{"spec.provider", cmp.Or(is.Provider, wanted), wanted},
		{"spec.service.headless", strconv.FormatBool(is.Headless), strconv.FormatBool(c.Spec.Service.Headless)},
	} {
		if of.recorded != of.wanted {
			return out, ground.AsMistake(immutable(of.field, of.recorded, of.wanted, is.TargetName))
		}
	}
	return out, nil
}

// observeHeadless holds spec.service.headless, which can't be changed in a Service, to what the
// Services have from when they are made. Identity has it from when the primary serves.
func (r *Reconciler) observeHeadless(ctx context.Context, w *ground.World) error {
	if w.Canary.Status.Identity != nil {
		return nil
	}
	_, primary, _ := w.Canary.ServiceNames()
	live, err := kube.Get[corev1.Service](ctx, r.Client, w.Canary.Namespace, primary)
	if err != nil || live == nil || !ownership.For(w.Canary).Owns(live) {
		return err
	}
	is, wanted := live.Spec.ClusterIP == corev1.ClusterIPNone, w.Canary.Spec.Service.Headless
	if is == wanted {
		return nil
	}
	w.Canary = w.Canary.DeepCopy()
	w.Canary.Spec.Service.Headless = is
	return immutable("spec.service.headless", strconv.FormatBool(is), strconv.FormatBool(wanted), w.Canary.Spec.TargetRef.Name)
}

// immutable refuses the change of a field that names what a Canary is about.
func immutable(field, recorded, wanted, target string) error {
	return ground.Mistake(reasonImmutable, "%s: %q can't be changed to %q while the Canary lives; set it back, "+
		"or delete the Canary, which gives the traffic to %s without losing any, and create it again", field, recorded, wanted, target)
}

// identityOf names what a Canary is about by what there is. It is nil as long as the
// target was never seen; what is known of one that is gone stays. A provider that no router has by now, as one that is
// misspelt, is not what a Canary is about: people would have to delete it to mend that.
func identityOf(c *v1beta1.Canary, target, primary client.Object, routed bool, defaultProvider string, o workload.Options) *v1beta1.IdentityStatus {
	was := c.Status.Identity
	if target == nil && was == nil {
		return nil
	}
	apex, _, _ := c.ServiceNames()
	out := &v1beta1.IdentityStatus{
		TargetKind: c.Spec.TargetRef.Kind, TargetName: c.Spec.TargetRef.Name,
		Apex: apex, Provider: c.GetProvider(defaultProvider), Headless: c.Spec.Service.Headless,
	}
	if !routed && (was == nil || was.Provider == "") {
		out.Provider = ""
	}
	if was != nil {
		out.TargetUID, out.SelectorLabel, out.Selector = was.TargetUID, was.SelectorLabel, was.Selector
	}
	if target != nil {
		out.TargetUID = target.GetUID()
	}
	label, selector := workload.Identity(target, primary, o)
	if label != "" {
		out.SelectorLabel = label
	}
	if selector != nil {
		out.Selector = selector
	}
	return out
}
