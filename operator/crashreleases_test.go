package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/test/rig"
)

// trialled is a release that every trial with it must tell, however it is
// disturbed. The first check at 40% always fails, which the good release
// survives; the bad one fails the second too.
type trialled struct {
	name  string
	bad   bool
	image string // what the primary runs in the end
	// statuses are the changes of the status after the initialization, weights
	// those of the route. Without statuses the undisturbed one says how it goes.
	statuses []string
	weights  []int32

	// canary changes the Canary, pods what pods there are, and then is what people do once the release has begun. All may be nil.
	canary func(*v1beta1.Canary)
	pods   func(*pods)
	then   func(context.Context, *trial) error
	// ended tells why a release that ends in another way has not ended.
	ended func(context.Context, *trial) error
}

var releases = []trialled{{
	name: "good", image: newImage, weights: []int32{0, 20, 40, 60, 0},
	statuses: []string{
		"Progressing 0% step 0/0 failed 0",
		"Progressing 20% step 1/0 failed 0",
		"Progressing 40% step 2/0 failed 0",
		"Progressing 40% step 2/1 failed 1",
		"Progressing 60% step 3/0 failed 1",
		"Promoting 60% step 0/0 failed 1",
		"Finalising 0% failed 1",
		"Succeeded 0% failed 1",
	},
}, {
	name: "bad", bad: true, image: oldImage, weights: []int32{0, 20, 40, 0},
	statuses: []string{
		"Progressing 0% step 0/0 failed 0",
		"Progressing 20% step 1/0 failed 0",
		"Progressing 40% step 2/0 failed 0",
		"Progressing 40% step 2/1 failed 1",
		"Failed 0% failed 2",
	},
}}

// kinds are releases of each other strategy, and those that end otherwise. What must come of them the undisturbed ones tell.
var kinds = []trialled{
	{name: "matching", image: newImage, canary: func(c *v1beta1.Canary) { abTesting(c.Spec.Analysis) }},
	{name: "blue-green", image: newImage, canary: func(c *v1beta1.Canary) { blueGreen(c.Spec.Analysis) }},
	{name: "mirror", image: newImage, canary: func(c *v1beta1.Canary) { c.Spec.Analysis.Mirror = true }},
	{name: "steps-back", image: newImage, canary: func(c *v1beta1.Canary) { c.Spec.Analysis.StepWeightPromotion = 30 }},
	{name: "sessions", image: newImage, canary: func(c *v1beta1.Canary) {
		c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "version"}
	}},
	{name: "no-mesh", image: newImage, canary: func(c *v1beta1.Canary) {
		blueGreen(c.Spec.Analysis)
		c.Spec.Provider = v1beta1.ProviderKubernetes
	}},
	{name: "halted", canary: func(c *v1beta1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(2)) }, pods: func(p *pods) { p.limit(app+"-primary", newImage, 0) }, ended: halted},
	{name: "deleted", canary: atStep(20), then: deleteAtWeight, ended: gone},
	{name: "deleted-matching", canary: func(c *v1beta1.Canary) {
		abTesting(c.Spec.Analysis)
		c.Spec.Analysis.Interval = "1h"
	}, then: deleteAtWeight, ended: gone},
}

// halted waits for a promotion that has failed: the canary serves everybody.
func halted(ctx context.Context, x *trial) error {
	return rig.Await(ctx, "the halted promotion", limit, func(context.Context) error {
		seen := x.lab.seen(x.namespace)
		c, vs := latest[*v1beta1.Canary](seen, app), latest[*istionetworking.VirtualService](seen, app)
		if c == nil || vs == nil || c.Status.Phase != v1beta1.PhasePromoting {
			return errors.New("it is not promoted")
		}
		is := c.Status.GetCondition(v1beta1.ConditionStalled)
		if _, canary := shares(vs); is == nil || is.Reason != release.ReasonPromotionHalted || canary != c.Status.CanaryWeight {
			return fmt.Errorf("the status is %+v, the canary has %d%%", c.Status, canary)
		}
		return nil
	})
}

// deleteAtWeight deletes the Canary once some requests go to the canary.
func deleteAtWeight(ctx context.Context, x *trial) error {
	err := rig.Await(ctx, "requests at the canary", limit, func(context.Context) error {
		seen := x.lab.seen(x.namespace)
		vs := latest[*istionetworking.VirtualService](seen, app)
		c := latest[*v1beta1.Canary](seen, app)
		if vs == nil || c == nil || c.Status.CanaryWeight == 0 || !strings.Contains(routeOf(vs), app+"-canary "+strconv.Itoa(int(c.Status.CanaryWeight))) {
			return errors.New("there are none")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.lab.api.Delete(ctx, &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: x.namespace, Name: app}})
}

// gone waits until the Canary has gone, with what was made for it, and its target serves.
func gone(ctx context.Context, x *trial) error {
	return rig.Await(ctx, "the end of the Canary", limit, func(ctx context.Context) error {
		for _, o := range []client.Object{&v1beta1.Canary{}, &istionetworking.VirtualService{}} {
			if err := x.lab.api.Get(ctx, client.ObjectKey{Namespace: x.namespace, Name: app}, o); !apierrors.IsNotFound(err) {
				return errors.Join(err, fmt.Errorf("%T is there", o))
			}
		}
		d, primary := &appsv1.Deployment{}, &appsv1.Deployment{}
		if err := x.lab.api.Get(ctx, client.ObjectKey{Namespace: x.namespace, Name: app + "-primary"}, primary); !apierrors.IsNotFound(err) {
			return errors.Join(err, errors.New("the primary is there"))
		}
		if err := x.lab.api.Get(ctx, client.ObjectKey{Namespace: x.namespace, Name: app}, d); err != nil || d.Status.AvailableReplicas != 1 {
			return errors.Join(err, fmt.Errorf("the target has %d pods", d.Status.AvailableReplicas))
		}
		return nil
	})
}

var initialization = []string{"-", "Initializing 0% failed 0", "Initialized 0% failed 0"}
