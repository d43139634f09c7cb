package v1beta1

import (
	"cmp"
	"fmt"
	"time"
)

// Bounds of hooks.
const (
	// DefaultHookTimeout is how long one call may take where timeout is empty.
	DefaultHookTimeout = 10 * time.Second
	// MaxHookTimeout is how long one call may take at most: a longer timeout is cut to it.
	MaxHookTimeout = time.Hour
	// MaxHookRetries is how often a failed call is repeated at most: more retries are cut to it.
	MaxHookRetries = int32(10)
)

// GetType returns when the hook is called: RolloutHook where type is empty.
func (w *CanaryWebhook) GetType() HookType { return cmp.Or(w.Type, RolloutHook) }

// GetTimeout returns how long one call may take: DefaultHookTimeout where timeout is empty, and never more than
// MaxHookTimeout. The error says that timeout is not a duration above 0.
func (w *CanaryWebhook) GetTimeout() (time.Duration, error) {
	if w.Timeout == "" {
		return DefaultHookTimeout, nil
	}
	d, err := positive("timeout", w.Timeout)
	return min(d, MaxHookTimeout), err
}

// GetRetries returns how often a failed call is repeated, 0 to MaxHookRetries.
func (w *CanaryWebhook) GetRetries() int32 { return min(max(w.Retries, 0), MaxHookRetries) }

// GetDeadline returns how long the hook may hold a release, 0 for ever. The error says that deadline is not a
// duration above 0.
func (w *CanaryWebhook) GetDeadline() (time.Duration, error) {
	if w.Deadline == "" {
		return 0, nil
	}
	return positive("deadline", w.Deadline)
}

// GetOnDeadline returns what happens when the deadline has passed: DeadlineRollback where onDeadline is empty.
func (w *CanaryWebhook) GetOnDeadline() DeadlineAction { return cmp.Or(w.OnDeadline, DeadlineRollback) }

// Sequential reports whether the webhooks of one type are called one after the other. Those of type rollback never are:
// one that gives no answer must not hide another's wish to roll back.
func (a *CanaryAnalysis) Sequential(t HookType) bool {
	return a.WebhookOrder != WebhooksParallel && t != RollbackHook
}

// Stops reports whether the hook stops those after it when it does not answer with success. One without which the release
// goes on at its deadline does not.
func (w *CanaryWebhook) Stops() bool { return w.GetOnDeadline() != DeadlineContinue }

// positive reads a duration above 0 from the field of that name.
func positive(field, value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", field, err)
	}
	if d <= 0 {
		return 0, fmt.Errorf("%s: %q is not above 0", field, value)
	}
	return d, nil
}

// HooksOf returns the hooks of a type, in the order of the spec.
func (a *CanaryAnalysis) HooksOf(t HookType) []CanaryWebhook {
	var out []CanaryWebhook
	for i := range a.Webhooks {
		if a.Webhooks[i].GetType() == t {
			out = append(out, a.Webhooks[i])
		}
	}
	return out
}
