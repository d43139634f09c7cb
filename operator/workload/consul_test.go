package workload_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/operator/workload"
)

const (
	connectService = "consul.hashicorp.com/connect-service"
	serviceIgnore  = "consul.hashicorp.com/service-ignore"
)

// TestPrimaryInConsul is an instance of a service of its own, as far as its target says
// which service it is of.
func TestPrimaryInConsul(t *testing.T) {
	for name, tc := range map[string]struct {
		provider, fallback string
		annotations        map[string]string // of the target's pods
		account            string            // in the Canary
		wantService        string
		wantAccount        string
	}{
		"named":                       {provider: "consul", annotations: map[string]string{connectService: "podinfo"}, wantService: "podinfo-primary"},
		"named, by default in Consul": {fallback: "consul", annotations: map[string]string{connectService: "podinfo"}, wantService: "podinfo-primary"},
		"not named":                   {provider: "consul"},
		"another mesh":                {provider: "istio", fallback: "consul", annotations: map[string]string{connectService: "podinfo"}, account: "a", wantService: "podinfo"},
		"with an account":             {provider: "consul", annotations: map[string]string{connectService: "podinfo"}, account: "podinfo-primary", wantService: "podinfo-primary", wantAccount: "podinfo-primary"},
	} {
		t.Run(name, func(t *testing.T) {
			target := newDeployment().with(func(d *appsv1.Deployment) { maps.Copy(d.Spec.Template.Annotations, tc.annotations) })
			c := newCanary()
			c.Spec.Provider = tc.provider
			if tc.account != "" {
				c.Annotations = map[string]string{workload.ConsulAccountAnnotation: tc.account}
			}
			o := defaults
			o.MeshProvider = tc.fallback
			built, err := workload.Primary(c.Canary, target.Deployment, nil, revisionOf(t, target), o)
			if err != nil {
				t.Fatal(err)
			}
			template := workload.Template(built)
			got := []string{template.Annotations[connectService], template.Spec.ServiceAccountName}
			if d := cmp.Diff([]string{tc.wantService, tc.wantAccount}, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if target.Spec.Template.Annotations[connectService] != tc.annotations[connectService] {
				t.Error("the target was changed")
			}
		})
	}
}

// TestRegistrationInConsul: pods that are instances of the apex service are registered for a Service without an
// address, and for no other, as the address of each would stand for the apex service.
func TestRegistrationInConsul(t *testing.T) {
	for name, tc := range map[string]struct {
		provider, service string
		want              map[string]bool // of the Services, whether consul-k8s ignores it
	}{
		"instances of the apex service": {provider: "consul", service: "podinfo", want: map[string]bool{
			"podinfo": true, "podinfo-primary": false, "podinfo-canary": true, "podinfo-consul": false,
		}},
		"registered for the canary Service": {provider: "consul", want: map[string]bool{"podinfo": true, "podinfo-primary": false, "podinfo-canary": false}},
		"another mesh":                      {provider: "istio", service: "podinfo", want: map[string]bool{"podinfo": false, "podinfo-primary": false, "podinfo-canary": false}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary()
			c.Spec.Provider = tc.provider
			target := newDeployment()
			if tc.service != "" {
				target.Spec.Template.Annotations[connectService] = tc.service
			}
			services := buildServices(t, c, target)
			got := map[string]bool{}
			for _, s := range services.All() {
				got[s.Name] = s.Labels[serviceIgnore] == "true"
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if r := services.Registration; r != nil && (r.Spec.ClusterIP != corev1.ClusterIPNone || !maps.Equal(r.Spec.Selector, services.Canary.Spec.Selector) || len(r.Spec.Ports) == 0) {
				t.Errorf("the Service without an address is %+v", r.Spec)
			}
		})
	}
}

// TestApexInConsul registers nothing while it leads to the primary, and again when it is
// given back, whosever it is.
func TestApexInConsul(t *testing.T) {
	o := defaults
	o.MeshProvider = "consul"
	build := func() workload.Services {
		services, err := workload.BuildServices(newCanary().Canary, newDeployment().Deployment, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		return services
	}
	services := build()
	for _, s := range services.All() {
		if _, ignored := s.Labels[serviceIgnore]; ignored != (s == services.Apex) {
			t.Errorf("Service %s is ignored: %v", s.Name, ignored)
		}
	}
	t.Run("one of ours", func(t *testing.T) {
		live := services.Apex.DeepCopy()
		merge(t, live, services.LetGo(live))
		if _, ignored := live.Labels[serviceIgnore]; ignored || live.Labels["app"] != "podinfo" {
			t.Errorf("labels %v", live.Labels)
		}
	})
	for name, before := range map[string]map[string]string{
		"a user's": {"team": "a"}, "a user's that he has had ignored": {"team": "a", serviceIgnore: "true"},
	} {
		t.Run(name, func(t *testing.T) {
			services := build()
			live := services.Apex.DeepCopy()
			live.Annotations, live.Labels, live.Spec.Selector = nil, maps.Clone(before), map[string]string{"app": "podinfo"}
			if err := services.Adopt(newCanary().Canary, services.Apex, live); err != nil {
				t.Fatal(err)
			}
			if services.Apex.Labels[serviceIgnore] != "true" {
				t.Errorf("labels of the intent %v", services.Apex.Labels)
			}
			maps.Copy(live.Labels, services.Apex.Labels)
			live.Annotations = services.Apex.Annotations
			live.Spec.Selector = services.Apex.Spec.Selector
			merge(t, live, services.GiveBack(live, "mark"))
			if d := cmp.Diff(before, live.Labels); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}
