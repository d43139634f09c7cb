package conditions

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestKeepWords(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	const young = 15 * time.Second
	status := func(message string, updated time.Duration) v1beta1.CanaryStatus {
		return v1beta1.CanaryStatus{Phase: v1beta1.PhasePromoting, Conditions: []v1beta1.CanaryCondition{
			{Type: v1beta1.ConditionPromoted, Status: corev1.ConditionUnknown, Reason: "Promoting", Message: message, LastUpdateTime: metav1.NewTime(now.Add(updated))},
			{Type: v1beta1.ConditionCovered, Status: corev1.ConditionTrue, Reason: "Covered", Message: "covered", LastUpdateTime: metav1.NewTime(now.Add(-time.Hour))},
		}}
	}
	for name, tc := range map[string]struct {
		updated time.Duration // when the former words were written, by now
		edit    func(*v1beta1.CanaryStatus)
		kept    bool
	}{
		"a moment ago":                       {updated: -5 * time.Second, kept: true},
		"long ago":                           {updated: -young},
		"by a clock that is ahead":           {updated: 10 * time.Second, kept: true},
		"by a clock that was put back since": {updated: young},
		"a number beside them":               {updated: -time.Second, edit: func(st *v1beta1.CanaryStatus) { st.FailedChecks = 1 }},
		"another reason":                     {updated: -time.Second, edit: func(st *v1beta1.CanaryStatus) { st.Conditions[0].Reason = "Finalising" }},
		"another status":                     {updated: -time.Second, edit: func(st *v1beta1.CanaryStatus) { st.Conditions[1].Status = corev1.ConditionFalse }},
		"of another generation of the spec":  {updated: -time.Second, edit: func(st *v1beta1.CanaryStatus) { st.Conditions[0].ObservedGeneration = 2 }},
		"a condition more": {updated: -time.Second, edit: func(st *v1beta1.CanaryStatus) {
			st.Conditions = append(st.Conditions, v1beta1.CanaryCondition{Type: v1beta1.ConditionApplied})
		}},
		"a condition in the place of another": {updated: -time.Second, edit: func(st *v1beta1.CanaryStatus) { st.Conditions[1].Type = v1beta1.ConditionApplied }},
		"the other words are no news":         {updated: -time.Hour, edit: func(st *v1beta1.CanaryStatus) { st.Conditions[1].LastUpdateTime = metav1.NewTime(now) }},
		"others a moment ago, some of both":   {updated: -time.Hour, edit: func(st *v1beta1.CanaryStatus) { st.Conditions[1].Message = "a copy is kept" }},
		"nothing is said in other words":      {updated: -time.Second, edit: func(st *v1beta1.CanaryStatus) { st.Conditions[0].Message = "1 of 2" }},
		"nor anything else, but in this order": {updated: -time.Second, edit: func(st *v1beta1.CanaryStatus) {
			st.Conditions[0].Message = "1 of 2"
			st.Conditions[0].LastUpdateTime = metav1.NewTime(now)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := status("1 of 2", tc.updated), status("0 of 2", 0)
			if tc.edit != nil {
				tc.edit(&after)
			}
			wanted := after.DeepCopy()
			since := KeepWords(&before, &after, now, young)
			if tc.kept {
				wanted = before.DeepCopy()
			}
			if kept := !since.IsZero(); kept != tc.kept || kept && !since.Equal(now.Add(tc.updated)) {
				t.Errorf("kept since %s, want %t", since, tc.kept)
			}
			for i := range after.Conditions {
				if after.Conditions[i] != wanted.Conditions[i] {
					t.Errorf("condition %d is %+v, want %+v", i, after.Conditions[i], wanted.Conditions[i])
				}
			}
		})
	}
}
