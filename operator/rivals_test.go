package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	networking "istio.io/api/networking/v1"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

var rivalIncidents = []incident{
	{"another VirtualService takes the requests in mid-release, and goes", testRival},
}

// testRival has a release wait while an older VirtualService has its host at the gateway, and go on as soon as
// that lets go of it: nothing else happens meanwhile that would have the operator look.
func testRival(s *site) {
	const public, rival = "infra/public", "old-routes"
	users := &istionetworking.VirtualService{}
	users.Namespace, users.Name = s.namespace, rival
	users.Spec.Hosts, users.Spec.Gateways = []string{"old.example.com"}, []string{public}
	users.Spec.Http = []*networking.HTTPRoute{{Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: "billing"}}}}}
	s.create(users)
	s.begin(nil, both(atStep(50), func(c *v1beta1.Canary) {
		c.Spec.Service.Hosts, c.Spec.Service.Gateways = []string{"app.example.com"}, []string{public, "mesh"}
	}))
	change[istionetworking.VirtualService](s, rival, func(vs *istionetworking.VirtualService) { vs.Spec.Hosts = []string{"app.example.com"} })
	s.release(newImage)
	seen := func(want bool) func(context.Context) error {
		return func(ctx context.Context) error {
			st, err := s.status(ctx)
			if err == nil && strings.Contains(fmt.Sprint(st.Conditions), rival) != want {
				err = fmt.Errorf("conditions are %+v", st.Conditions)
			}
			return err
		}
	}
	s.await("a condition that names the rival", seen(true))
	// A turn that wrote the status is followed by another within a moment. After that only the rival can wake the Canary.
	s.await("the operator to wait", func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err != nil {
			return err
		}
		if since := time.Since(st.GetCondition(v1beta1.ConditionReconciling).LastUpdateTime.Time); since < 3*time.Second {
			return fmt.Errorf("it wrote %s ago", since)
		}
		return nil
	})
	change[istionetworking.VirtualService](s, rival, func(vs *istionetworking.VirtualService) { vs.Spec.Hosts = []string{"old.example.com"} })
	s.await("a step without the rival", seen(false))
	s.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Interval = "1s" })
	s.awaitSettled(v1beta1.PhaseSucceeded)
}
