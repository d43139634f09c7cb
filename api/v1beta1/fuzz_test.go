package v1beta1

import (
	"testing"
	"time"
)

// FuzzDurations reads the durations of a spec as users write them: each is above 0, or an error.
func FuzzDurations(f *testing.F) {
	for _, d := range []string{"", "0", "1s", "1m30s", "1h1h", "-1s", "1ns", "9999999h", "1.5m", "１s", "1s\n", "1e9s", "292y", "100ms", ".5s"} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := (&CanaryAnalysis{Interval: text}).GetInterval(); err == nil && d <= 0 {
			t.Errorf("interval %q is %s", text, d)
		}
		if d, err := (&CanaryMetric{WarmUp: text}).GetWarmUp(); err == nil && d < 0 {
			t.Errorf("warmUp %q is %s", text, d)
		}
		if d, err := (&CanaryWebhook{Timeout: text}).GetTimeout(); err == nil && (d <= 0 || d > max(MaxHookTimeout, time.Minute)) {
			t.Errorf("timeout %q is %s", text, d)
		}
		if (&CanaryMetric{Interval: text}).GetInterval() == "" {
			t.Errorf("interval %q of a metric is empty", text)
		}
	})
}
