package webhooks

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func podinfo() *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"},
		Status: v1beta1.CanaryStatus{
			Phase: v1beta1.PhaseProgressing, CanaryWeight: 20, FailedChecks: 1, Iterations: 3, LastAppliedSpec: "s1-a",
			TrackedConfigs: &map[string]string{"configmap/a": "1", "secret/b": "2"},
		},
	}
}

func TestPayload(t *testing.T) {
	for name, tc := range map[string]struct {
		hook v1beta1.CanaryWebhook
		want string
	}{
		"plain": {
			want: `{"name":"podinfo","namespace":"test","phase":"Progressing","checksum":"7319244a6a",` +
				`"statusPhase":"Waiting","type":"rollout","canaryWeight":20,"failedChecks":1,"iterations":3}`,
		},
		"with metadata": {
			hook: v1beta1.CanaryWebhook{Type: v1beta1.ConfirmRolloutHook, Metadata: map[string]string{"cmd": "hey <url>"}},
			want: `{"name":"podinfo","namespace":"test","phase":"Waiting","checksum":"7319244a6a",` +
				`"metadata":{"cmd":"hey \u003curl\u003e"},` +
				`"statusPhase":"Waiting","type":"confirm-rollout","canaryWeight":20,"failedChecks":1,"iterations":3}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(NewPayload(podinfo(), v1beta1.PhaseWaiting, &tc.hook))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, string(got)); d != "" {
				t.Errorf("payload (-want +got):\n%s", d)
			}
		})
	}
}

// Each type of hook is told the phase that Flagger tells it: a receiver of confirm-promotion that checks for Progressing goes
// on working. The phase of the status is beside it.
func TestPhaseInPayload(t *testing.T) {
	for kind, want := range map[v1beta1.HookType]v1beta1.CanaryPhase{
		"": v1beta1.PhaseProgressing, v1beta1.RolloutHook: v1beta1.PhaseProgressing, v1beta1.PreRolloutHook: v1beta1.PhaseProgressing,
		v1beta1.ConfirmTrafficIncreaseHook: v1beta1.PhaseProgressing, v1beta1.ConfirmPromotionHook: v1beta1.PhaseProgressing,
		v1beta1.ConfirmRolloutHook: v1beta1.PhaseWaitingPromotion, v1beta1.RollbackHook: v1beta1.PhaseWaitingPromotion,
		v1beta1.PostRolloutHook: v1beta1.PhaseFailed, v1beta1.EventHook: v1beta1.PhaseWaitingPromotion,
	} {
		got := NewPayload(podinfo(), v1beta1.PhaseWaitingPromotion, &v1beta1.CanaryWebhook{Type: kind})
		if got.Phase != want || got.StatusPhase != v1beta1.PhaseWaitingPromotion {
			t.Errorf("%s is told %s, and %s of the status; want %s", kind, got.Phase, got.StatusPhase, want)
		}
	}
}

func TestEventPayload(t *testing.T) {
	hook := &v1beta1.CanaryWebhook{
		Type: v1beta1.EventHook, Metadata: map[string]string{"channel": "ops", "eventType": "mine", "eventMessage": "mine"},
	}
	payload := NewPayload(podinfo(), v1beta1.PhaseProgressing, hook)
	got := payload.Event("Advance podinfo.test canary weight 20", "Normal", time.UnixMilli(1767225600123))
	want := map[string]string{
		"channel": "ops", "eventType": "Normal", "eventMessage": "Advance podinfo.test canary weight 20", "timestamp": "1767225600123",
	}
	if d := cmp.Diff(want, got.Metadata); d != "" {
		t.Errorf("metadata (-want +got):\n%s", d)
	}
	if payload.Metadata["eventType"] != "mine" || hook.Metadata["eventMessage"] != "mine" {
		t.Error("the hook's own metadata was changed")
	}
}

func TestChecksum(t *testing.T) {
	base := Checksum(&podinfo().Status)
	for name, tc := range map[string]struct {
		change   func(*v1beta1.CanaryStatus)
		wantSame bool
	}{
		"another weight":  {func(s *v1beta1.CanaryStatus) { s.CanaryWeight, s.Phase = 50, v1beta1.PhaseFailed }, true},
		"another release": {func(s *v1beta1.CanaryStatus) { s.LastAppliedSpec = "s1-b" }, false},
		"another config":  {func(s *v1beta1.CanaryStatus) { (*s.TrackedConfigs)["configmap/a"] = "3" }, false},
		"no configs":      {func(s *v1beta1.CanaryStatus) { s.TrackedConfigs = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			status := podinfo().Status
			tc.change(&status)
			if got := Checksum(&status); (got == base) != tc.wantSame {
				t.Errorf("checksum %s, was %s; want the same: %v", got, base, tc.wantSame)
			}
		})
	}
}
