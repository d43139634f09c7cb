package main

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

var ingressIncidents = []incident{
	{"a release behind ingress-nginx, and the Ingress changes in it", testIngress},
}

// testIngress releases an application whose requests come by an Ingress. The Ingress stays the
// user's: the canary's follows what it becomes, and goes with the Canary.
func testIngress(s *site) {
	backend := func(service string) networkingv1.IngressBackend {
		return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 9898}}}
	}
	users := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
		Host: "app.example.com",
		IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{
			{Path: "/", PathType: new(networkingv1.PathTypePrefix), Backend: backend(app)},
			{Path: "/billing", PathType: new(networkingv1.PathTypePrefix), Backend: backend("billing")},
		}}},
	}}}}
	users.Namespace, users.Name = s.namespace, "web"
	s.create(users)
	s.begin(nil, both(atStep(50), func(c *v1beta1.Canary) {
		c.Spec.Provider, c.Spec.IngressRef = v1beta1.ProviderNGINX, &v1beta1.LocalObjectReference{Name: "web"}
	}))
	s.awaitIngress("0", "app.example.com")
	s.release(newImage)
	s.awaitIngress("50", "app.example.com")
	change[networkingv1.Ingress](s, "web", func(i *networkingv1.Ingress) { i.Spec.Rules[0].Host = "www.example.com" })
	s.awaitIngress("50", "www.example.com")
	s.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Interval = "1s" })
	s.awaitSettled(v1beta1.PhaseSucceeded)
	s.awaitIngress("0", "www.example.com")
	before := get[networkingv1.Ingress](s, "web")
	s.remove(get[v1beta1.Canary](s, app))
	s.awaitGone(get[networkingv1.Ingress](s, "web-canary"))
	if after := get[networkingv1.Ingress](s, "web"); after.ResourceVersion != before.ResourceVersion || after.Generation != 2 {
		s.t.Errorf("the user's Ingress was written: %+v", after)
	}
}

// awaitIngress waits until the canary Ingress gives the canary a share of one path of a host.
func (s *site) awaitIngress(weight, host string) {
	s.t.Helper()
	s.await(fmt.Sprintf("a canary Ingress with %s%% of %s", weight, host), func(ctx context.Context) error {
		i := &networkingv1.Ingress{}
		if err := s.api.Get(ctx, s.key("web-canary"), i); err != nil {
			return err
		}
		rules := i.Spec.Rules
		if i.Annotations["nginx.ingress.kubernetes.io/canary-weight"] != weight || len(rules) != 1 || rules[0].Host != host || len(rules[0].HTTP.Paths) != 1 {
			return fmt.Errorf("it is %+v", i)
		}
		return nil
	})
}
