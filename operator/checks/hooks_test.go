package checks

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/secrets"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/webhooks"
)

// newTestHooks gives hooks that may call this machine, their clock, and what
// they have sent.
func newTestHooks(t *testing.T, status int) (*Hooks, *clocktesting.FakePassiveClock, string, <-chan *http.Request) {
	t.Helper()
	sent := make(chan *http.Request, 16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var p webhooks.Payload
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil || p.Name != "podinfo" {
			t.Errorf("payload %+v, %v", p, err)
		}
		sent <- r
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	guard, err := webhooks.NewGuard(nil, []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{Data: map[string][]byte{"authorization": []byte("Bearer token")}}
	secret.Namespace, secret.Name = "test", "gate"
	api := fake.NewClientBuilder().WithObjects(secret).Build()
	now := clocktesting.NewFakePassiveClock(time.Unix(1e9, 0))
	return &Hooks{
		Client:  webhooks.NewClient(webhooks.Options{Clock: clock.RealClock{}, Guard: guard}),
		Secrets: secrets.New(api, api, true), Clock: now,
	}, now, server.URL, sent
}

// Pain 17: a call that is made again after a crash can be told from another.
func TestHookKeys(t *testing.T) {
	h, now, url, sent := newTestHooks(t, http.StatusOK)
	c := newCanary("podinfo").Canary
	c.Status.StartedAt = &metav1.MicroTime{Time: now.Now()}
	key := func(kind v1beta1.HookType, id release.CheckID) string {
		t.Helper()
		answer, err := h.Call(t.Context(), c, v1beta1.CanaryWebhook{Type: kind, Name: "a hook", URL: url}, id)
		if err != nil || answer != "200" {
			t.Fatalf("%q, %v", answer, err)
		}
		now.SetTime(now.Now().Add(time.Second))
		return (<-sent).Header.Get("Idempotency-Key")
	}
	round := release.CheckID{Revision: "s2-a", Step: 2, Window: 3}
	first := key(v1beta1.RolloutHook, round)
	if again := key(v1beta1.RolloutHook, round); again != first || first == "" {
		t.Errorf("the same round has the keys %q and %q", first, again)
	}
	if next := key(v1beta1.RolloutHook, release.CheckID{Revision: "s2-a", Step: 2, Window: 4}); next == first {
		t.Errorf("two rounds have the key %q", first)
	}
	gate := release.CheckID{Hooks: v1beta1.ConfirmPromotionHook, Revision: "s2-a", Step: 2}
	if a, b := key(gate.Hooks, gate), key(gate.Hooks, gate); a == b {
		t.Errorf("a gate that was asked twice has the key %q both times", a)
	}
	again := round
	again.Attempt = 1
	if retried := key(v1beta1.RolloutHook, again); retried == first {
		t.Errorf("two tries of a revision have the key %q", first)
	}
}

func TestHookCredentials(t *testing.T) {
	h, _, url, sent := newTestHooks(t, http.StatusForbidden)
	c := newCanary("podinfo").Canary
	hook := v1beta1.CanaryWebhook{Name: "gate", URL: url, SecretRef: &corev1.LocalObjectReference{Name: "gate"}}
	answer, err := h.Call(t.Context(), c, hook, release.CheckID{})
	if answer != "403" || err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("%q, %v", answer, err)
	}
	if got := (<-sent).Header.Get("Authorization"); got != "Bearer token" {
		t.Errorf("Authorization is %q", got)
	}
	hook.SecretRef.Name = "missing"
	if _, err := h.Call(t.Context(), c, hook, release.CheckID{}); err == nil || !strings.Contains(err.Error(), "test/missing") {
		t.Errorf("without its Secret: %v", err)
	}
}

func TestRefusedHooks(t *testing.T) {
	guard, err := webhooks.NewGuard([]string{"*.test", "169.254.169.254"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := &Hooks{Guard: guard}
	for url, want := range map[string]string{
		"http://tester.test/gate":     "",
		"http://elsewhere.example":    "is not among the hosts that may be called",
		"http://169.254.169.254/meta": "a cloud's metadata service",
	} {
		err := h.Check(t.Context(), newCanary("podinfo").with(func(s *v1beta1.CanarySpec) {
			s.Analysis.Webhooks = []v1beta1.CanaryWebhook{{Name: "gate", URL: url}}
		}).Canary)
		got := ""
		if mistake := world.AsMistake(err); mistake != nil {
			got = mistake.Message
		}
		if want == "" && got != "" || !strings.Contains(got, want) || want != "" && !strings.Contains(got, "spec.analysis.webhooks[0], gate") {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

// The operator's own event webhook is told every event of every Canary that has no event hook, signed like any other.
func TestOperatorsEventHook(t *testing.T) {
	h, _, url, sent := newTestHooks(t, http.StatusOK)
	queue := func() *webhooks.Events {
		events := webhooks.NewEvents(h.Client, webhooks.EventsOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- events.Start(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		return events
	}
	h.Events = queue()
	h.Operators = &OperatorsHook{
		Hook:   v1beta1.CanaryWebhook{Type: v1beta1.EventHook, Name: "-event-webhook", URL: url + "/operators"},
		Secret: func() (map[string][]byte, error) { return map[string][]byte{webhooks.HMACKey: []byte("key")}, nil },
		Events: queue(),
	}
	for name, tc := range map[string]struct {
		hooks  []v1beta1.CanaryWebhook
		want   string
		signed bool
	}{
		"a Canary without hooks":      {nil, "/operators", true},
		"one with hooks of a release": {[]v1beta1.CanaryWebhook{{Type: v1beta1.RolloutHook, Name: "load", URL: url}}, "/operators", true},
		"one with an event hook":      {[]v1beta1.CanaryWebhook{{Type: v1beta1.EventHook, Name: "own", URL: url + "/own"}}, "/own", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary("podinfo").with(func(s *v1beta1.CanarySpec) { s.Analysis.Webhooks = tc.hooks }).Canary
			h.Event(t.Context(), c, "Normal", "Promoted", "it was promoted")
			r := receive(t, sent)
			if r.URL.Path != tc.want || (r.Header.Get("Sluice-Signature") != "") != tc.signed || r.Header.Get("Idempotency-Key") == "" {
				t.Errorf("%s was told, with %v", r.URL.Path, r.Header)
			}
			if len(sent) > 0 {
				t.Errorf("%s was told too", (<-sent).URL.Path)
			}
		})
	}
}
