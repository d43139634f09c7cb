package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// receiver is a server that hooks call, one path for each of their types.
type receiver struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	answers map[v1beta1.HookType]func(attempt int) int
	calls   []call
}

// call is one call of a hook.
type call struct {
	Type     v1beta1.HookType    `json:"type"`
	Phase    v1beta1.CanaryPhase `json:"phase"`
	Weight   int32               `json:"canaryWeight"`
	Name     string              `json:"name"`
	Checksum string              `json:"checksum"`
	Metadata map[string]string   `json:"metadata"`
	key      string
	status   int
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t, answers: map[v1beta1.HookType]func(int) int{}}
	r.url = serve(t, r)
	return r
}

// serve runs a server that the operator can reach, until the end of the test,
// and gives its address.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "10.244.255.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: limit}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return "http://" + listener.Addr().String()
}

// hang is the answer that never comes.
const hang = 0

// answer has the hooks of a type answered with a status from now on.
func (r *receiver) answer(kind v1beta1.HookType, status int) {
	r.answerAs(kind, func(int) int { return status })
}

// answerAs has the nth call of the hooks of a type answered by status(n), n from 1.
func (r *receiver) answerAs(kind v1beta1.HookType, status func(attempt int) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[kind] = status
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var c call
	if err := json.NewDecoder(req.Body).Decode(&c); err != nil {
		r.t.Errorf("a hook was called with no payload: %v", err)
	}
	c.key = req.Header.Get("Idempotency-Key")
	r.mu.Lock()
	c.status = http.StatusOK
	if answer := r.answers[c.Type]; answer != nil {
		c.status = answer(len(r.ofLocked(c.Type)) + 1)
	}
	r.calls = append(r.calls, c)
	r.mu.Unlock()
	if c.status == hang {
		<-req.Context().Done()
		return
	}
	w.WriteHeader(c.status)
	fmt.Fprintf(w, "%s says %d", c.Type, c.status)
}

func (r *receiver) ofLocked(kind v1beta1.HookType) []call {
	var out []call
	for _, c := range r.calls {
		if c.Type == kind {
			out = append(out, c)
		}
	}
	return out
}

// of are the calls of the hooks of a type up to now.
func (r *receiver) of(kind v1beta1.HookType) []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ofLocked(kind)
}

// order is the order in which the types of hooks were called first.
func (r *receiver) order() []v1beta1.HookType {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []v1beta1.HookType
	for _, c := range r.calls {
		if !slices.Contains(out, c.Type) {
			out = append(out, c.Type)
		}
	}
	return out
}

// hook gives a Canary a hook of a type that calls the receiver.
func (r *receiver) hook(c *v1beta1.Canary, kind v1beta1.HookType, edits ...func(*v1beta1.CanaryWebhook)) {
	hook := v1beta1.CanaryWebhook{Type: kind, Name: "my-" + string(kind), URL: r.url + "/" + string(kind), Metadata: map[string]string{"team": "blue"}}
	for _, edit := range edits {
		edit(&hook)
	}
	c.Spec.Analysis.Webhooks = append(c.Spec.Analysis.Webhooks, hook)
}

// awaitGate waits until the release is held by a gate.
func (a *app) awaitGate(kind v1beta1.HookType) {
	a.t.Helper()
	a.await("the gate "+string(kind), func(ctx context.Context) error {
		c, err := a.Canary(ctx)
		if err == nil && (c.Status.Gate == nil || c.Status.Gate.Type != kind) {
			err = fmt.Errorf("it is %s with weight %d at gate %+v", c.Status.Phase, c.Status.CanaryWeight, c.Status.Gate)
		}
		return err
	})
}

// opens has a gate answer with success and tells how long it took the release
// to go on.
func (a *app) opens(r *receiver, kind v1beta1.HookType) {
	a.t.Helper()
	r.answer(kind, http.StatusOK)
	opened := time.Now()
	a.await("the release going on", func(ctx context.Context) error {
		c, err := a.Canary(ctx)
		if err == nil && c.Status.Gate != nil && c.Status.Gate.Type == kind {
			err = fmt.Errorf("it waits at the gate %s", kind)
		}
		return err
	})
	a.t.Logf("%s: the release goes on %s after the gate was opened", kind, time.Since(opened).Round(10*time.Millisecond))
}

// TestHooks goes through a release with a hook of each type. Each gate is closed
// when the release comes to it (pains 16 and 17).
func TestHooks(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	gates := []v1beta1.HookType{v1beta1.ConfirmRolloutHook, v1beta1.ConfirmTrafficIncreaseHook, v1beta1.ConfirmPromotionHook}
	for _, gate := range gates {
		r.answer(gate, http.StatusForbidden)
	}
	r.answer(v1beta1.RollbackHook, http.StatusForbidden)
	r.answerAs(v1beta1.PreRolloutHook, func(attempt int) int { return []int{0, 503, 200}[min(attempt, 2)] })
	a, h := begin(t, "hooks", func(c *v1beta1.Canary) {
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight = 50, 50
		for _, kind := range append(gates, v1beta1.RolloutHook, v1beta1.PostRolloutHook, v1beta1.RollbackHook, v1beta1.EventHook) {
			r.hook(c, kind)
		}
		r.hook(c, v1beta1.PreRolloutHook, func(h *v1beta1.CanaryWebhook) { h.Retries = 1 })
	})
	a.awaitDrained()
	a.release("6.0.1")

	a.awaitGate(v1beta1.ConfirmRolloutHook)
	a.awaitCondition(rig.Name, v1beta1.ConditionPromoted, corev1.ConditionUnknown, "Waiting", "confirm-rollout gate", "403", "confirm-rollout says 403")
	if n := replicas(get[appsv1.Deployment](a, rig.Name)); n != 0 {
		t.Errorf("the canary has %d pods before its release was confirmed", n)
	}
	a.opens(r, v1beta1.ConfirmRolloutHook)

	a.awaitGate(v1beta1.ConfirmTrafficIncreaseHook)
	if c := a.canary(); c.Status.CanaryWeight != 0 || c.Status.Phase != v1beta1.PhaseProgressing {
		t.Errorf("%s with weight %d before the traffic was confirmed", c.Status.Phase, c.Status.CanaryWeight)
	}
	a.opens(r, v1beta1.ConfirmTrafficIncreaseHook)

	a.awaitGate(v1beta1.ConfirmPromotionHook)
	a.awaitCondition(rig.Name, v1beta1.ConditionPromoted, corev1.ConditionUnknown, "WaitingPromotion", "50% of the traffic", "confirm-promotion gate")
	a.wantPrimary("6.0.0")
	rounds := len(r.of(v1beta1.RolloutHook))
	a.await("rounds that go on at the gate", func(context.Context) error {
		if n := len(r.of(v1beta1.RolloutHook)); n < rounds+2 {
			return fmt.Errorf("%d of %d", n, rounds+2)
		}
		return nil
	})
	a.opens(r, v1beta1.ConfirmPromotionHook)
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.wantPrimary("6.0.1")
	wantWeights(t, h, 0, 50, 0)
	a.awaitEvent(rig.Name, "GateClosed", "confirm-promotion")
	a.awaitEvent(rig.Name, "GateOpened", "Confirm-promotion gate is open")

	a.await("the post-rollout hook and the last event", func(context.Context) error {
		last := r.of(v1beta1.EventHook)
		if n := len(r.of(v1beta1.PostRolloutHook)); n != 1 || last[len(last)-1].Phase != v1beta1.PhaseSucceeded {
			return fmt.Errorf("%d calls of post-rollout hooks, the last event at %s", n, last[len(last)-1].Phase)
		}
		return nil
	})
	if c := r.of(v1beta1.PostRolloutHook)[0]; c.Phase != v1beta1.PhaseSucceeded || c.Metadata["team"] != "blue" || c.Name != rig.Name || c.Checksum == "" {
		t.Errorf("the post-rollout hook was told %+v", c)
	}
	if pre := r.of(v1beta1.PreRolloutHook); len(pre) != 2 || pre[0].key == "" || pre[0].key != pre[1].key {
		t.Errorf("the pre-rollout hook was called %d times for one call with a retry: %+v", len(pre), pre)
	}
	if failed := a.canary().Status.FailedChecks; failed != 0 {
		t.Errorf("%d failed checks: a call that was retried with success is none", failed)
	}
	order := slices.DeleteFunc(r.order(), func(kind v1beta1.HookType) bool { return kind == v1beta1.EventHook || kind == v1beta1.RollbackHook })
	want := []v1beta1.HookType{
		v1beta1.ConfirmRolloutHook, v1beta1.PreRolloutHook, v1beta1.ConfirmTrafficIncreaseHook, v1beta1.RolloutHook,
		v1beta1.ConfirmPromotionHook, v1beta1.PostRolloutHook,
	}
	if !slices.Equal(order, want) {
		t.Errorf("hooks were called in the order %v, want %v", order, want)
	}
	for _, part := range []string{"New revision", "gate to open", "Promoted"} {
		if !slices.ContainsFunc(r.of(v1beta1.EventHook), func(c call) bool { return containsAll(c.Metadata["eventMessage"], []string{part}) }) {
			t.Errorf("no event hook was told %q", part)
		}
	}
}

// A rollback hook brings the traffic to 0 at any moment.
func TestRollbackHook(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.answer(v1beta1.RollbackHook, http.StatusForbidden)
	a, h := begin(t, "rollback-hook", func(c *v1beta1.Canary) {
		c.Spec.Analysis.Interval = "5s"
		c.Spec.Analysis.StepWeight = 50
		r.hook(c, v1beta1.RollbackHook)
	})
	a.release("6.0.1")
	a.awaitWeight(50)
	r.answer(v1beta1.RollbackHook, http.StatusOK)
	a.awaitPhase(v1beta1.PhaseFailed)
	a.awaitEvent(rig.Name, "RollbackAsked", "rollback hook my-rollback asks for it", "podinfo-primary serves all traffic")
	a.awaitDrained()
	wantWeights(t, h, 0, 50, 0)
	a.wantPrimary("6.0.0")
}

// A hook that fails and one that does not answer in time are failed checks, and
// the answers are told (pain 14).
func TestHooksThatFail(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	a, h := begin(t, "failing-hooks", func(c *v1beta1.Canary) {
		c.Spec.Analysis.StepWeight = 50
		c.Spec.Analysis.Threshold = 2
		r.hook(c, v1beta1.RolloutHook, func(h *v1beta1.CanaryWebhook) { h.Timeout = "500ms" })
		r.hook(c, v1beta1.PreRolloutHook)
		r.hook(c, v1beta1.PostRolloutHook)
	})
	r.answer(v1beta1.RolloutHook, hang)
	a.release("6.0.1")
	a.awaitPhase(v1beta1.PhaseFailed)
	wantWeights(t, h, 0, 50, 0)
	a.awaitEvent(rig.Name, "AnalysisFailed", "failed check 2 of 2", "hook my-rollout", "no complete answer within 500ms")
	a.await("the post-rollout hook", func(context.Context) error {
		if calls := r.of(v1beta1.PostRolloutHook); len(calls) != 1 || calls[0].Phase != v1beta1.PhaseFailed {
			return fmt.Errorf("got %+v", calls)
		}
		return nil
	})

	r.answer(v1beta1.RolloutHook, http.StatusOK)
	r.answer(v1beta1.PreRolloutHook, http.StatusInternalServerError)
	a.release("6.0.2")
	a.awaitPhase(v1beta1.PhaseProgressing)
	a.awaitPhase(v1beta1.PhaseFailed)
	a.awaitEvent(rig.Name, "AnalysisFailed", "failed check 2 of 2", "hook my-pre-rollout", "answered 500: pre-rollout says 500")
	wantWeights(t, h, 0, 50, 0) // not once more: no request has gone to it
	a.wantPrimary("6.0.0")
}

// Pain 16: nobody's release waits for ever unless he asked for it.
func TestGateDeadline(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.answer(v1beta1.ConfirmPromotionHook, http.StatusForbidden)
	a, h := begin(t, "gate-deadline", func(c *v1beta1.Canary) {
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight = 50, 50
		r.hook(c, v1beta1.ConfirmPromotionHook, func(h *v1beta1.CanaryWebhook) { h.Deadline = "2s" })
	})
	a.release("6.0.1")
	a.awaitPhase(v1beta1.PhaseFailed)
	a.awaitEvent(rig.Name, "GateDeadlineExceeded", "the confirm-promotion gate was not opened within 2s")
	wantWeights(t, h, 0, 50, 0)
	wantPhases(t, h, v1beta1.PhaseInitialized, v1beta1.PhaseProgressing, v1beta1.PhaseWaitingPromotion, v1beta1.PhaseFailed)

	a.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Webhooks[0].OnDeadline = v1beta1.DeadlineContinue })
	a.release("6.0.2")
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.wantPrimary("6.0.2")
}
