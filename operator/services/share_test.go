package services

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/world"
)

// with observes the Services beside pods of target and primary.
func (s *stage) with(target, primary int32) *Share {
	s.t.Helper()
	o := release.Observation{Canary: s.canary, Failures: s.failures}
	o.Target = release.Workload{Exists: true, Replicas: target, Available: target, Ready: target > 0}
	o.Primary = release.Workload{Exists: true, Replicas: primary, Available: primary, Ready: primary > 0}
	w := world.New(o)
	if s.target != nil {
		w.TargetObject = s.target
	}
	if s.primary != nil {
		w.PrimaryObject = s.primary
	}
	share, err := s.services.Observe(s.t.Context(), w)
	if err != nil {
		s.t.Fatal(err)
	}
	return share
}

func (s *stage) remove(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if err := s.api.Delete(s.t.Context(), s.service(name)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// make creates a Service of a user's.
func (s *stage) make(name string, selector map[string]string) {
	s.t.Helper()
	o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name}, Spec: corev1.ServiceSpec{
		Selector: selector, Ports: []corev1.ServicePort{{Name: "http", Port: 9898}},
	}}
	if err := s.api.Create(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

// endpoints has pods of a Service be ready endpoints.
func (s *stage) endpoints(service string, n int) {
	s.t.Helper()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		Endpoints:  make([]discoveryv1.Endpoint, n),
	}
	if err := s.api.Create(s.t.Context(), slice); err != nil {
		s.t.Fatal(err)
	}
}

// Whether the Services are there that the route and the primary need.
func TestBackends(t *testing.T) {
	for name, tc := range map[string]struct {
		change       func(*stage)
		want         bool // the route can divide traffic
		wantServices bool // what leads to the primary was made for the Canary
	}{
		"all are there":         {func(*stage) {}, true, true},
		"the canary's is gone":  {func(s *stage) { s.remove("podinfo-canary") }, false, true},
		"the primary's is gone": {func(s *stage) { s.remove("podinfo-primary") }, false, false},
		"the apex Service is":   {func(s *stage) { s.remove("podinfo") }, true, true},
		"the primary's a user's": {func(s *stage) {
			s.remove("podinfo-primary")
			s.make("podinfo-primary", map[string]string{"app": "podinfo-primary"})
		}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			tc.change(s)
			share := s.look()
			if got := share.Backends(t.Context()); got != tc.want {
				t.Errorf("traffic can be divided: %t", got)
			}
			if got := share.world.HasServices; got != tc.wantServices {
				t.Errorf("there are Services of the Canary: %t", got)
			}
		})
	}
}

func TestReached(t *testing.T) {
	for name, tc := range map[string]struct {
		target, primary int32
		endpoints       [2]int // of canary and primary, -1 for nothing known
		deleted         bool
		want            bool
		wantReady       [2]bool
		wantUnconfirmed [2]bool
	}{
		"all":                             {target: 2, primary: 2, endpoints: [2]int{2, 2}, want: true, wantReady: [2]bool{true, true}},
		"not all of the canary's":         {target: 2, primary: 2, endpoints: [2]int{1, 2}, wantReady: [2]bool{false, true}},
		"not all of the primary's":        {target: 2, primary: 2, endpoints: [2]int{2, 1}, wantReady: [2]bool{true, false}},
		"no pod of the canary":            {primary: 2, endpoints: [2]int{-1, 2}, want: true, wantReady: [2]bool{false, true}},
		"no pod of either":                {endpoints: [2]int{-1, -1}, want: true},
		"nothing is known":                {target: 2, primary: 2, endpoints: [2]int{-1, -1}, wantUnconfirmed: [2]bool{true, true}},
		"nothing is known, in a deletion": {target: 2, primary: 2, endpoints: [2]int{-1, -1}, deleted: true, wantReady: [2]bool{true, true}, wantUnconfirmed: [2]bool{true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			for i, service := range []string{"podinfo-canary", "podinfo-primary"} {
				if tc.endpoints[i] >= 0 {
					s.endpoints(service, tc.endpoints[i])
				}
			}
			if tc.deleted {
				s.canary.DeletionTimestamp = new(metav1.Now())
			}
			share := s.with(tc.target, tc.primary)
			w := share.world
			if got := share.Reached(); got != tc.want {
				t.Errorf("reached: %t", got)
			}
			if got := [2]bool{w.Target.Ready, w.Primary.Ready}; got != tc.wantReady {
				t.Errorf("ready are canary and primary %v; %q and %q", got, w.Target.Message, w.Primary.Message)
			}
			if got := [2]bool{w.Target.Unconfirmed, w.Primary.Unconfirmed}; got != tc.wantUnconfirmed {
				t.Errorf("not sure are canary and primary %v", got)
			}
		})
	}
}

func TestOnlyPrimary(t *testing.T) {
	target, primary := newDeployment("podinfo"), newDeployment("podinfo-primary")
	for name, tc := range map[string]struct {
		target, primary *appsv1.Deployment
		pods            [2]int32 // of both
		misses          bool
		want            bool
	}{
		"both serve":                   {target, primary, [2]int32{2, 2}, false, false},
		"the target is gone":           {nil, primary, [2]int32{0, 2}, false, true},
		"the primary is gone":          {target, nil, [2]int32{0, 0}, false, false},
		"the target has no pod":        {target, primary, [2]int32{0, 2}, false, true},
		"neither has one":              {target, primary, [2]int32{0, 0}, false, false},
		"the target is not found":      {target, primary, [2]int32{2, 2}, true, true},
		"it is not, and no primary is": {target, nil, [2]int32{2, 0}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.New(release.Observation{Canary: newStage(t).canary})
			if tc.target != nil {
				w.TargetObject = tc.target
			}
			if tc.primary != nil {
				w.PrimaryObject = tc.primary
			}
			w.Target.Available, w.Primary.Available, w.ApexMisses = tc.pods[0], tc.pods[1], tc.misses
			if got := onlyPrimary(w); got != tc.want {
				t.Errorf("%t", got)
			}
		})
	}
}

// As long as the primary alone can serve a deletion waits for no Service to be given back, and gives none back that leads there.
func TestDeletionBesideThePrimaryAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		target     int32
		want       release.Desired
		wantInSync bool
		wantApex   string
	}{
		"the primary alone":            {target: 0, want: release.Desired{Released: true, LeadToPrimary: true}, wantInSync: true, wantApex: "podinfo-primary"},
		"the target serves":            {target: 2, want: release.Desired{Released: true}, wantInSync: false, wantApex: "podinfo"},
		"the target serves, and waits": {target: 2, want: release.Desired{LeadToPrimary: true}, wantInSync: false, wantApex: "podinfo-primary"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.endpoints("podinfo-canary", 2)
			s.endpoints("podinfo-primary", 2)
			s.canary.DeletionTimestamp = new(metav1.Now())
			share := s.with(tc.target, 2)
			if got := share.world.ServicesInSync; got != tc.wantInSync {
				t.Errorf("in sync: %t", got)
			}
			if err := share.GiveBack(t.Context(), tc.want); err != nil {
				t.Fatal(err)
			}
			if got := s.service("podinfo").Spec.Selector["app"]; got != tc.wantApex {
				t.Errorf("the apex Service leads to %s", got)
			}
		})
	}
}

func TestLeadToPrimary(t *testing.T) {
	s := newStage(t)
	before := s.service("podinfo").ResourceVersion
	if err := s.look().LeadToPrimary(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := s.service("podinfo").ResourceVersion; after != before {
		t.Error("what leads there already is written")
	}
	s.edit("podinfo", func(o *corev1.Service) { o.Spec.Selector = map[string]string{"app": "podinfo", "tier": "web"} })
	if err := s.look().LeadToPrimary(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.service("podinfo").Spec.Selector; got["app"] != "podinfo-primary" || len(got) != 1 {
		t.Errorf("it selects %v", got)
	}
}

// What a user made stays as it was given, while the route is still divided between it and others.
func TestKeepBackends(t *testing.T) {
	s := newStage(t)
	s.edit("podinfo-primary", func(o *corev1.Service) { o.Spec.Selector = map[string]string{"app": "nobody"} })
	s.edit("podinfo-canary", func(o *corev1.Service) { // it is no longer the Canary's
		o.Labels, o.Annotations, o.OwnerReferences = nil, nil, nil
		o.Spec.Selector = map[string]string{"app": "podinfo", "users": "own"}
	})
	users := s.service("podinfo-canary").ResourceVersion
	s.canary.DeletionTimestamp = new(metav1.Now())
	if err := s.look().KeepBackends(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.service("podinfo-primary").Spec.Selector["app"]; got != "podinfo-primary" {
		t.Errorf("the primary's leads to %s", got)
	}
	if got := s.service("podinfo-canary"); got.ResourceVersion != users {
		t.Errorf("the user's is written, and selects %v", got.Spec.Selector)
	}
}

// An apex Service that was made for the Canary is led to whatever the target is; only a user's may miss it.
func TestApexOfOursMissesNobody(t *testing.T) {
	for name, users := range map[string]bool{"ours": false, "a user's": true} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			if users {
				s.remove("podinfo")
				s.make("podinfo", map[string]string{"app": "podinfo"})
				s.apply(s.look())
			}
			s.target = newDeployment("podinfo")
			s.target.UID, s.target.Spec.Template.Labels = "another", map[string]string{"app": "web"}
			s.target.Spec.Selector = &metav1.LabelSelector{MatchLabels: s.target.Spec.Template.Labels}
			s.canary.DeletionTimestamp = new(metav1.Now())
			if got := s.look().world.ApexMisses; got != users {
				t.Errorf("it misses the target: %t", got)
			}
		})
	}
}

// A primary that was deleted without its pods leaves them, and they serve people. Of one that is made anew with other labels
// nobody is there yet: the Services are led to that one's pods when there are any.
func TestPodsThatAPrimaryHasLeft(t *testing.T) {
	for name, tc := range map[string]struct {
		available int32 // pods of the new primary
		left      int   // endpoints of those that the former one has left
		same      bool  // it has the labels of the former one
		led       bool
	}{
		"the new one has none yet":       {left: 1},
		"it has one":                     {available: 1, left: 1, led: true},
		"none is left":                   {led: true},
		"they have the labels of others": {left: 1, same: true, led: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.endpoints("podinfo-primary", tc.left)
			s.primary = newDeployment("podinfo-primary")
			s.primary.UID = "another"
			if !tc.same {
				s.primary.Spec.Selector.MatchLabels["team"] = "a"
			}
			s.canary.Spec.Service.Apex, s.canary.Spec.Service.Primary = labelled("seen"), labelled("seen")
			s.canary.Generation++
			share := s.with(0, tc.available)
			s.apply(share)
			for _, service := range []string{"podinfo-primary", "podinfo"} {
				if led := s.service(service).Labels["seen"] != ""; led != tc.led {
					t.Errorf("%s is written: %t; it leads to %v", service, led, s.service(service).Spec.Selector)
				}
			}
			share = s.with(0, tc.available)
			if w := share.world; !w.ServicesInSync {
				t.Error("the release waits for the Services")
			}
			if share.Refused() == tc.led {
				t.Errorf("still to be written: %t", share.Refused())
			}
		})
	}
}

func labelled(key string) *v1beta1.CustomMetadata {
	return &v1beta1.CustomMetadata{Labels: map[string]string{key: "yes"}}
}
