package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/view"
	"github.com/sluice-delivery/sluice/operator/workload"
)

func deploymentWith(image string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "podinfod", Image: image}}},
		}},
	}
}

func revisionWith(t *testing.T, image string) string {
	t.Helper()
	revision, err := workload.Revision(deploymentWith(image))
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// says has the operator say of the Canary what edit does.
func says(t *testing.T, c *connection, edit func(*v1beta1.CanaryStatus)) {
	t.Helper()
	canary := &v1beta1.Canary{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo"}, canary); err != nil {
		t.Fatal(err)
	}
	edit(&canary.Status)
	if err := c.Status().Update(t.Context(), canary); err != nil {
		t.Fatal(err)
	}
}

// TestStatusOfReleaseToCome begins before the operator has seen that the target was changed: what came of the release before, good or
// bad, is not taken for an answer, nor shown as one.
func TestStatusOfReleaseToCome(t *testing.T) {
	was, is := revisionWith(t, "podinfo:6.0.0"), revisionWith(t, "podinfo:6.0.1")
	failed := func(st *v1beta1.CanaryStatus) {
		st.Phase, st.LastAppliedSpec, st.LastPromotedSpec = v1beta1.PhaseFailed, was, "s2-aaaaaaaaaaaa"
	}
	for name, tc := range map[string]struct {
		before func(*v1beta1.CanaryStatus)
		first  string
	}{
		"after a good one": {func(st *v1beta1.CanaryStatus) {
			st.Phase, st.LastAppliedSpec, st.LastPromotedSpec = v1beta1.PhaseSucceeded, was, was
		}, "AtRest"},
		"after the first of all": {func(st *v1beta1.CanaryStatus) {
			st.Phase, st.LastAppliedSpec, st.LastPromotedSpec = v1beta1.PhaseInitialized, was, was
		}, "AtRest"},
		"after a bad one": {failed, "RolledBack"},
	} {
		t.Run(name, func(t *testing.T) {
			c := server(t, interceptor.Funcs{})
			if err := c.Create(t.Context(), deploymentWith("podinfo:6.0.1")); err != nil {
				t.Fatal(err)
			}
			says(t, c, tc.before)
			out := newScreen()
			ended := make(chan error, 1)
			go func() {
				ended <- appOn(out, clocktesting.NewFakeClock(time.Now())).wait(t.Context(), c, "podinfo", statusOptions{goal: string(view.ForPromoted), output: "text"})
			}()
			out.await(t, fmt.Sprintf("%-12s   0%%  the release has not begun: ", tc.first))
			// What the operator says without having looked at the target is no answer either.
			says(t, c, func(st *v1beta1.CanaryStatus) { st.CanaryWeight = 1 })
			out.await(t, fmt.Sprintf("%-12s   1%%  the release has not begun: ", tc.first))
			says(t, c, func(st *v1beta1.CanaryStatus) { st.Phase, st.LastAppliedSpec = v1beta1.PhaseProgressing, is })
			out.await(t, "Progressing")
			select {
			case err := <-ended:
				t.Fatalf("it ended with %v while the release was under way; it wrote %q", err, out.text)
			default:
			}
			says(t, c, func(st *v1beta1.CanaryStatus) { st.Phase, st.LastPromotedSpec = v1beta1.PhaseSucceeded, is })
			if err := <-ended; err != nil {
				t.Errorf("it ended with %v; it wrote %q", err, out.text)
			}
		})
	}
}

// TestStatusOfAnotherVersion warns where nobody can tell whether the status is about the target as it is.
func TestStatusOfAnotherVersion(t *testing.T) {
	for name, tc := range map[string]struct {
		applied string
		warns   bool
	}{
		"the same version":    {revisionWith(t, "podinfo:6.0.1"), false},
		"with configs":        {revisionWith(t, "podinfo:6.0.1") + "-c1", false},
		"another version":     {"s1-aaaaaaaaaaaa", true},
		"Flagger's revisions": {"7d8f6bb5b4", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := server(t, interceptor.Funcs{})
			if err := c.Create(t.Context(), deploymentWith("podinfo:6.0.1")); err != nil {
				t.Fatal(err)
			}
			says(t, c, func(st *v1beta1.CanaryStatus) { st.Phase, st.LastAppliedSpec = v1beta1.PhaseProgressing, tc.applied })
			out := newScreen()
			ended := make(chan error, 1)
			go func() {
				ended <- appOn(out, clocktesting.NewFakeClock(time.Now())).wait(t.Context(), c, "podinfo", statusOptions{goal: string(view.ForPromoted), output: "text"})
			}()
			out.await(t, "Progressing")
			says(t, c, func(st *v1beta1.CanaryStatus) { st.Phase = v1beta1.PhaseFailed })
			err := <-ended
			var status *statusError
			if !errors.As(err, &status) || status.status != int(view.Undone) {
				t.Errorf("it ended with %v", err)
			}
			if got := strings.Count(out.text, "warning: revision "+tc.applied+" is of another version than this command"); got > 1 || (got == 1) != tc.warns {
				t.Errorf("it warned %d times; it wrote %q", got, out.text)
			}
		})
	}
}
