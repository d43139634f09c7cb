package services

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/operator/release"
)

// The apex Service of a deleted Canary leads to the target as it is at the end: one that was created anew with other labels
// is found, whosever Service it is, unless a primary stays that is found instead.
func TestApexLeadsToTargetInTheEnd(t *testing.T) {
	relabelled := func() *appsv1.Deployment {
		d := newDeployment("podinfo")
		d.UID, d.Spec.Template.Labels = "another", map[string]string{"app": "web"}
		d.Spec.Selector = &metav1.LabelSelector{MatchLabels: d.Spec.Template.Labels}
		return d
	}
	for name, tc := range map[string]struct {
		users, primary bool // the apex Service is a user's; the primary is there
		before, after  *appsv1.Deployment
		want           string
	}{
		"it is as it was":                           {users: true, want: "podinfo"},
		"it is new, and the Service a user's":       {users: true, before: relabelled(), want: "web"},
		"it is new, and the Service ours":           {before: relabelled(), want: "web"},
		"it is new after that was given back":       {users: true, after: relabelled(), want: "web"},
		"it is new after that was let go of":        {after: relabelled(), want: "web"},
		"it is new, and the primary serves instead": {users: true, primary: true, before: relabelled(), want: "podinfo"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			if tc.users {
				for _, service := range []string{"podinfo", "podinfo-primary", "podinfo-canary"} {
					if err := s.api.Delete(t.Context(), s.service(service)); err != nil {
						t.Fatal(err)
					}
				}
				users := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}, Spec: corev1.ServiceSpec{
					Selector: map[string]string{"app": "podinfo"}, Ports: []corev1.ServicePort{{Name: "http", Port: 9898}},
				}}
				if err := s.api.Create(t.Context(), users); err != nil {
					t.Fatal(err)
				}
				s.apply(s.look())
			}
			if got := s.service("podinfo").Spec.Selector["app"]; got != "podinfo-primary" {
				t.Fatalf("it leads to %s before the deletion", got)
			}
			s.canary.DeletionTimestamp = new(metav1.Now())
			if !tc.primary {
				s.primary = nil
			}
			for i, target := range []*appsv1.Deployment{tc.before, tc.before, tc.after, tc.after} {
				if target != nil {
					s.target = target
				}
				if share := s.look(); i == 2 && tc.after != nil && tc.users && share.world.ServicesInSync {
					t.Error("what finds nobody is taken for given back")
				}
				if err := s.look().GiveBack(t.Context(), release.Desired{Released: true}); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.service("podinfo").Spec.Selector; got["app"] != tc.want || len(got) != 1 {
				t.Errorf("it selects %v", got)
			}
			if share := s.look(); !share.world.ServicesInSync {
				t.Error("it is to be written again")
			}
		})
	}
}
