package v1beta1_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestHookDefaults(t *testing.T) {
	type values struct {
		Type              v1beta1.HookType
		Timeout, Deadline time.Duration
		Retries           int32
		OnDeadline        v1beta1.DeadlineAction
	}
	for name, tc := range map[string]struct {
		hook v1beta1.CanaryWebhook
		want values
	}{
		"unset": {
			want: values{v1beta1.RolloutHook, 10 * time.Second, 0, 0, v1beta1.DeadlineRollback},
		},
		"set": {
			hook: v1beta1.CanaryWebhook{
				Type: v1beta1.ConfirmPromotionHook, Timeout: "1m30s", Retries: 2, Deadline: "24h", OnDeadline: v1beta1.DeadlineContinue,
			},
			want: values{v1beta1.ConfirmPromotionHook, 90 * time.Second, 24 * time.Hour, 2, v1beta1.DeadlineContinue},
		},
		"too much": {
			hook: v1beta1.CanaryWebhook{Timeout: "2h", Retries: 1_000_000},
			want: values{v1beta1.RolloutHook, time.Hour, 0, 10, v1beta1.DeadlineRollback},
		},
		"below 0": {
			hook: v1beta1.CanaryWebhook{Retries: -1},
			want: values{v1beta1.RolloutHook, 10 * time.Second, 0, 0, v1beta1.DeadlineRollback},
		},
	} {
		t.Run(name, func(t *testing.T) {
			timeout, err := tc.hook.GetTimeout()
			if err != nil {
				t.Fatal(err)
			}
			deadline, err := tc.hook.GetDeadline()
			if err != nil {
				t.Fatal(err)
			}
			got := values{tc.hook.GetType(), timeout, deadline, tc.hook.GetRetries(), tc.hook.GetOnDeadline()}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("values (-want +got):\n%s", d)
			}
		})
	}
}

// A server that holds objects of an older CRD may have let anything through.
func TestHookDurationsThatAreNone(t *testing.T) {
	for name, value := range map[string]string{
		"zero": "0s", "negative": "-1m", "no unit": "60", "words": "soon",
	} {
		t.Run(name, func(t *testing.T) {
			hook := v1beta1.CanaryWebhook{Timeout: value, Deadline: value}
			if d, err := hook.GetTimeout(); err == nil || d != 0 {
				t.Errorf("GetTimeout() = %v, %v; want an error", d, err)
			}
			if d, err := hook.GetDeadline(); err == nil || d != 0 {
				t.Errorf("GetDeadline() = %v, %v; want an error", d, err)
			}
		})
	}
}
