package checks

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/operator/release"
)

// journal notes the order in which hooks and queries begin and end.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// Flagger calls the hooks of one type in the order of the spec (migrate, then test), stops at the first that fails, and
// queries the metrics of a round only when its rollout hooks have passed.
func TestHooksInOrder(t *testing.T) {
	errNo := errors.New("no")
	hook := func(kind v1beta1.HookType, name string) v1beta1.CanaryWebhook {
		return v1beta1.CanaryWebhook{Type: kind, Name: name, URL: "http://tester"}
	}
	goesOn := func(h v1beta1.CanaryWebhook) v1beta1.CanaryWebhook {
		h.Deadline, h.OnDeadline = "1h", v1beta1.DeadlineContinue
		return h
	}
	const (
		pre, post, confirm = v1beta1.PreRolloutHook, v1beta1.PostRolloutHook, v1beta1.ConfirmPromotionHook
		passed, failed     = v1beta1.CheckPassed, v1beta1.CheckFailed
		skipped            = v1beta1.CheckSkipped
	)
	for name, tc := range map[string]struct {
		kind    v1beta1.HookType // of the run; empty for a round
		hooks   []v1beta1.CanaryWebhook
		fails   string
		journal []string
		want    []v1beta1.CheckVerdict
	}{
		"pre-rollout: migrate, then test": {
			kind: pre, hooks: []v1beta1.CanaryWebhook{hook(pre, "migrate"), hook(pre, "test")},
			journal: []string{"migrate begins", "migrate ends", "test begins", "test ends"}, want: []v1beta1.CheckVerdict{passed, passed},
		},
		"pre-rollout: nothing is tested that was not migrated": {
			kind: pre, hooks: []v1beta1.CanaryWebhook{hook(pre, "migrate"), hook(pre, "test"), hook(pre, "warm up")}, fails: "migrate",
			journal: []string{"migrate begins", "migrate ends"}, want: []v1beta1.CheckVerdict{failed, skipped, skipped},
		},
		"rollout hooks before the metrics": {
			hooks:   []v1beta1.CanaryWebhook{hook("", "load"), hook(v1beta1.RolloutHook, "accept")},
			journal: []string{"load begins", "load ends", "accept begins", "accept ends", "query"}, want: []v1beta1.CheckVerdict{passed, passed, passed},
		},
		"no metric after a rollout hook that failed": {
			hooks: []v1beta1.CanaryWebhook{hook("", "load"), hook("", "accept")}, fails: "load",
			journal: []string{"load begins", "load ends"}, want: []v1beta1.CheckVerdict{skipped, failed, skipped},
		},
		"a gate after a closed one is not asked": {
			kind: confirm, hooks: []v1beta1.CanaryWebhook{hook(confirm, "qa"), hook(confirm, "boss")}, fails: "qa",
			journal: []string{"qa begins", "qa ends"}, want: []v1beta1.CheckVerdict{failed, skipped},
		},
		"a gate without which the release goes on stops none": {
			kind: confirm, hooks: []v1beta1.CanaryWebhook{goesOn(hook(confirm, "qa")), hook(confirm, "boss")}, fails: "qa",
			journal: []string{"qa begins", "qa ends", "boss begins", "boss ends"}, want: []v1beta1.CheckVerdict{failed, passed},
		},
		"post-rollout": {
			kind: post, hooks: []v1beta1.CanaryWebhook{hook(post, "report"), hook(post, "clean up")}, fails: "report",
			journal: []string{"report begins", "report ends"}, want: []v1beta1.CheckVerdict{failed, skipped},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var seen journal
			k := newTestChecker(&fakeProvider{answer: func(context.Context, metrics.Query) (metrics.Sample, error) {
				seen.add("query")
				return metrics.Sample{Value: 100}, nil
			}}, func(config *Config) {
				config.Hooks = func(_ context.Context, _ *v1beta1.Canary, h v1beta1.CanaryWebhook, _ release.CheckID) (string, error) {
					seen.add(h.Name + " begins")
					defer seen.add(h.Name + " ends")
					if h.Name == tc.fails {
						return "500", errNo
					}
					return "200", nil
				}
			})
			c := newCanary("podinfo").metrics(1).Canary
			c.Spec.Analysis.Webhooks = tc.hooks
			run := id(1)
			run.Hooks = tc.kind
			k.Run(t.Context(), c, run, nil)
			awaitFinished(t, k)
			done, hooks := k.Results(c)
			if tc.kind != "" {
				done = hooks[tc.kind]
			}
			var got []v1beta1.CheckVerdict
			for _, r := range done.Results {
				got = append(got, r.Verdict)
				if r.Verdict == skipped && (r.Message == "" || r.Name == "") {
					t.Errorf("it is not said why %+v was not asked", r)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.journal, seen.lines); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// webhookOrder: Parallel calls all hooks of a type at once, beside the metrics; rollback hooks are so called in any
// case, as one that hangs must not hide another's wish.
func TestHooksAtOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		order v1beta1.WebhookOrder
		kind  v1beta1.HookType
		began []string
	}{
		"a round":        {v1beta1.WebhooksParallel, "", []string{"a", "b", "query"}},
		"pre-rollout":    {v1beta1.WebhooksParallel, v1beta1.PreRolloutHook, []string{"a", "b"}},
		"rollback hooks": {v1beta1.WebhooksSequential, v1beta1.RollbackHook, []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			began, end := make(chan string, 3), make(chan struct{})
			k := newTestChecker(&fakeProvider{answer: func(context.Context, metrics.Query) (metrics.Sample, error) {
				began <- "query"
				<-end
				return metrics.Sample{Value: 100}, nil
			}}, func(config *Config) {
				config.Hooks = func(_ context.Context, _ *v1beta1.Canary, h v1beta1.CanaryWebhook, _ release.CheckID) (string, error) {
					began <- h.Name
					<-end
					return "500", errors.New("no")
				}
			})
			c := newCanary("podinfo").metrics(1).Canary
			c.Spec.Analysis.WebhookOrder = tc.order
			c.Spec.Analysis.Webhooks = []v1beta1.CanaryWebhook{{Type: tc.kind, Name: "a", URL: "http://a"}, {Type: tc.kind, Name: "b", URL: "http://b"}}
			run := id(1)
			run.Hooks = tc.kind
			k.Run(t.Context(), c, run, nil)
			var got []string
			for range tc.began {
				got = append(got, receive(t, began))
			}
			close(end)
			awaitFinished(t, k)
			slices.Sort(got)
			if diff := cmp.Diff(tc.began, got); diff != "" {
				t.Errorf("at once (-want +got):\n%s", diff)
			}
		})
	}
}
