package rollout_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

const (
	withOldConfigs = revB + "-old"
	withNewConfigs = revB + "-new"
)

// midRelease is at a step of the analysis of a revision whose pods have read the old configs.
func midRelease() *scene {
	s := newScene().step(1, 20, 5*time.Second)
	s.Canary.Status.LastAppliedSpec = withOldConfigs
	s.Target.Revision = withOldConfigs
	return s
}

// absent has there have been no operator for an hour until some time ago, and the release have moved before that.
func absent(s *scene, ago time.Duration) {
	back := s.Now.Add(-ago)
	s.Absence = release.Absence{From: back.Add(-time.Hour), To: back}
	s.Canary.Status.LastTransitionTime = metav1.NewTime(back.Add(-2 * time.Hour))
}

// TestPodsThatHaveReadOldConfigs: pods read most of their ConfigMaps and Secrets when they start.
func TestPodsThatHaveReadOldConfigs(t *testing.T) {
	for name, tc := range map[string]struct {
		was, is string
		with    func(*scene)
		want    bool // the canary's pods are replaced
	}{
		"configs":                                {was: withOldConfigs, is: withNewConfigs, want: true},
		"configs and the image":                  {was: withOldConfigs, is: revC + "-new", want: true},
		"the image":                              {was: withOldConfigs, is: revC + "-old"},
		"the image without configs":              {was: revB, is: revC},
		"the first config":                       {was: revB, is: withNewConfigs, want: true},
		"no config any more":                     {was: withOldConfigs, is: revC},
		"configs, and nobody is to analyse them": {was: withOldConfigs, is: withNewConfigs, with: func(s *scene) { s.Canary.Spec.SkipAnalysis = true }},
		"configs, and the target has no pods":    {was: withOldConfigs, is: withNewConfigs, with: func(s *scene) { s.Target.Replicas, s.Target.Available = 0, 0 }},
		"configs in the promotion":               {was: withOldConfigs, is: withNewConfigs, with: func(s *scene) { s.Canary.Status.Phase = v1beta1.PhasePromoting }, want: true},
		"configs between releases, and Git has given the target pods": {was: withOldConfigs, is: withNewConfigs, want: true, with: func(s *scene) {
			s.Canary.Status.Phase, s.Canary.Status.CanaryWeight, s.Canary.Status.Step = v1beta1.PhaseSucceeded, 0, nil
		}},
		"the image, while pods are replaced for the configs": {was: withNewConfigs, is: revC + "-new", want: true, with: func(s *scene) {
			s.Canary.Status.Step.Replacing = true
		}},
		"the image, once pods have been replaced for the configs": {was: withNewConfigs, is: revC + "-new"},
		"the image, with pods that a failed release of the configs has left": {was: withNewConfigs, is: revC + "-new", want: true, with: func(s *scene) {
			s.Canary.Status.Phase, s.Canary.Status.CanaryWeight, s.Canary.Status.Step = v1beta1.PhaseFailed, 0, nil
		}},
		"the image, while there was no operator": {was: withOldConfigs, is: revC + "-old", want: true, with: func(s *scene) { absent(s, time.Minute) }},
		"the image, while there was none, and the target has no pods": {was: withOldConfigs, is: revC + "-old", with: func(s *scene) {
			absent(s, time.Minute)
			s.Target.Replicas, s.Target.Available = 0, 0
		}},
		"the image, while something held the release": {was: withOldConfigs, is: revC + "-old", want: true, with: func(s *scene) {
			s.Canary.Status.SetCondition(v1beta1.CanaryCondition{Type: v1beta1.ConditionReady, Status: corev1.ConditionFalse, Reason: release.ReasonSuspended}, t0)
		}},
		"the image, after a release that failed": {was: withOldConfigs, is: revC + "-old", with: func(s *scene) {
			s.Canary.Status.Phase, s.Canary.Status.CanaryWeight, s.Canary.Status.Step = v1beta1.PhaseFailed, 0, nil
			s.Canary.Status.LastPromotedSpec = revA + "-old"
			s.Canary.Status.SetCondition(v1beta1.CanaryCondition{Type: v1beta1.ConditionReady, Status: corev1.ConditionFalse, Reason: string(v1beta1.PhaseFailed)}, t0)
		}},
		"the image, long after there was none": {was: withOldConfigs, is: revC + "-old", with: func(s *scene) { absent(s, time.Hour) }},
		"the image, when the release has moved since there was none": {was: withOldConfigs, is: revC + "-old", with: func(s *scene) {
			absent(s, time.Minute)
			s.Canary.Status.LastTransitionTime = metav1.NewTime(t0)
		}},
		"the image, with pods that a failed release of the promoted configs has left": {was: withNewConfigs, is: revC + "-new", with: func(s *scene) {
			s.Canary.Status.Phase, s.Canary.Status.CanaryWeight, s.Canary.Status.Step = v1beta1.PhaseFailed, 0, nil
			s.Canary.Status.LastPromotedSpec = revA + "-new"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := midRelease()
			s.Canary.Status.LastAppliedSpec, s.Target.Revision = tc.was, tc.is
			if parts := strings.SplitN(tc.is, "-", 3); len(parts) == 3 {
				s.Target.Configs = parts[2]
			}
			if tc.with != nil {
				tc.with(s)
			}
			pods := s.Target.Replicas
			d := rollout.Decide(s.Observation)
			if d.Status.Phase != v1beta1.PhaseProgressing || d.Status.CanaryWeight != 0 || d.Status.Step.Index != 0 {
				t.Fatalf("the analysis does not begin anew: %s at %d", d.Status.Phase, d.Status.CanaryWeight)
			}
			if got := d.Status.Step.Replacing; got != tc.want {
				t.Errorf("its pods are replaced: %t, want %t", got, tc.want)
			}
			if tc.want != strings.Contains(d.Events[0].Message, "its pods are replaced") {
				t.Errorf("people are told: %s", d.Events[0].Message)
			}
			if tc.want && d.Status.Step.Pods != pods {
				t.Errorf("it gets %d pods again, and had %d", d.Status.Step.Pods, pods)
			}
		})
	}
}

// replacing is a release whose canary is to lose its pods. Nobody has been led to them for a minute.
func replacing() *scene {
	s := midRelease()
	st := &s.Canary.Status
	st.LastAppliedSpec, s.Target.Revision = withNewConfigs, withNewConfigs
	st.CanaryWeight, st.LastTransitionTime = 0, metav1.NewTime(t0.Add(-time.Minute))
	st.Step = &v1beta1.StepStatus{Since: metav1.NewMicroTime(t0.Add(-time.Minute)), Replacing: true, Pods: 3}
	s.Target.Replicas, s.Target.Available = 3, 3
	return s
}

func TestPodsAreReplaced(t *testing.T) {
	keeps := int32(-1)
	for name, tc := range map[string]struct {
		with     func(*scene)
		replicas int32 // that the target is to have
		goesOn   bool  // it is replaced
		phase    v1beta1.CanaryPhase
		waits    string
	}{
		"nobody is led to them":         {replicas: 0, waits: "waiting for the canary's pods to be replaced"},
		"while it is paused":            {with: func(s *scene) { s.paused() }, replicas: 0},
		"the mesh leads to them":        {with: func(s *scene) { s.outOfSync() }, replicas: keeps},
		"requests are on their way":     {with: func(s *scene) { s.Route.Seen = t0.Add(-time.Second) }, replicas: keeps},
		"they stand in for the primary": {with: func(s *scene) { s.primaryAvailable(0) }, replicas: keeps},
		"there is no primary":           {with: func(s *scene) { s.primaryAvailable(0); s.Primary.Exists = false }, replicas: keeps, goesOn: true},
		"nobody serves, without them or with them": {with: func(s *scene) {
			s.primaryAvailable(0)
			s.Target.Available, s.Target.Ready = 0, false
		}, replicas: 0},
		"they are not gone yet": {with: func(s *scene) { s.Target.Replicas, s.Target.Available = 0, 0 }, replicas: 0},
		"they are gone": {with: func(s *scene) {
			s.Target.Replicas, s.Target.Available, s.Target.Ready, s.Target.Empty = 0, 0, false, true
		}, replicas: 3, goesOn: true},
		"they do not go":                 {with: func(s *scene) { s.unwell(time.Hour) }, replicas: keeps, phase: v1beta1.PhaseFailed},
		"a mistake holds the release":    {with: func(s *scene) { s.Mistake = &release.Mistake{Reason: "X", Message: "x"} }, replicas: keeps},
		"a gate has the release waiting": {with: func(s *scene) { s.Canary.Status.Phase = v1beta1.PhaseWaiting; s.hooked(v1beta1.ConfirmRolloutHook) }, replicas: keeps, phase: v1beta1.PhaseWaiting},
	} {
		t.Run(name, func(t *testing.T) {
			s := replacing()
			if tc.with != nil {
				tc.with(s)
			}
			d := rollout.Decide(s.Observation)
			if want := v1beta1.PhaseProgressing; tc.phase == "" && d.Status.Phase != want || tc.phase != "" && d.Status.Phase != tc.phase {
				t.Fatalf("phase %s", d.Status.Phase)
			}
			got := keeps
			if d.Desired.TargetReplicas != nil {
				got = *d.Desired.TargetReplicas
			}
			if got != tc.replicas {
				t.Errorf("the target gets %d pods, want %d", got, tc.replicas)
			}
			if at := d.Status.Step; at != nil && at.Replacing == tc.goesOn {
				t.Errorf("they are to be replaced: %t", at.Replacing)
			}
			if at := d.Status.Step; at != nil && at.Index > 0 && !tc.goesOn {
				t.Error("pods that are to be replaced get traffic")
			}
			if ready := d.Status.GetCondition(v1beta1.ConditionReady); !strings.Contains(strings.ToLower(ready.Message), tc.waits) {
				t.Errorf("people read %q", ready.Message)
			}
		})
	}
}

// TestPromotedRevisionOfAPromotionThatIsLeft: a primary that has got a revision that was found good can be made from it again.
func TestPromotedRevisionOfAPromotionThatIsLeft(t *testing.T) {
	for has, want := range map[string]string{revA: revA, revB: revB} {
		s := newScene().promoting(60, time.Minute).primaryAt(has)
		s.Canary.Status.LastPromotedSpec = revA
		s.Target.Revision = revC
		if d := rollout.Decide(s.Observation); d.Status.LastPromotedSpec != want || d.Status.LastAppliedSpec != revC {
			t.Errorf("the primary has %s: promoted is %s, applied is %s", has, d.Status.LastPromotedSpec, d.Status.LastAppliedSpec)
		}
	}
}
