package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// chat is a receiver of alerts.
type chat struct {
	url string

	mu       sync.Mutex
	messages []alert
}

// alert is what is looked at of a message.
type alert struct {
	Reason   string `json:"reason"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	Text     string `json:"text"`
	Release  *struct {
		ID    string `json:"id"`
		From  string `json:"from"`
		To    string `json:"to"`
		Final bool   `json:"final"`
	} `json:"release"`
}

// newChat starts a receiver, and has the alerts of the app's Canary sent to it
// by an AlertProvider.
func (a *app) newChat() *chat {
	a.t.Helper()
	c := &chat{}
	c.url = serve(a.t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m alert
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			a.t.Errorf("an alert can't be read: %v", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.messages = append(c.messages, m)
	}))
	provider := &v1beta1.AlertProvider{Spec: v1beta1.AlertProviderSpec{Type: "webhook", Address: c.url}}
	provider.Namespace, provider.Name = a.Namespace, "chat"
	a.must(a.API.Create(a.t.Context(), provider))
	return c
}

// alerted has a Canary's alerts sent to the app's AlertProvider.
func alerted(c *v1beta1.Canary) {
	c.Spec.Analysis.Alerts = []v1beta1.CanaryAlert{{Name: "chat", ProviderRef: v1beta1.CrossNamespaceObjectReference{Name: "chat"}}}
}

func (c *chat) all() []alert {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.messages)
}

// awaitAlert waits for an alert with a reason.
func (a *app) awaitAlert(c *chat, reason string) alert {
	a.t.Helper()
	var found alert
	a.await("alert "+reason, func(context.Context) error {
		all := c.all()
		i := slices.IndexFunc(all, func(m alert) bool { return m.Reason == reason })
		if i < 0 {
			return fmt.Errorf("there are %+v", all)
		}
		found = all[i]
		return nil
	})
	return found
}

// TestAlerts follows a good and a bad release by their alerts alone: each is one
// conversation that begins with what is released and ends with what became of it.
func TestAlerts(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	a := newApp(t, "alerts")
	a.deploy()
	c := a.newChat()
	a.apply(func(c *v1beta1.Canary) {
		quick(c)
		alerted(c)
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.Threshold = 50, 1
		r.hook(c, v1beta1.RolloutHook)
	})
	a.awaitPhase(v1beta1.PhaseInitialized)
	a.release("6.0.1")
	began := a.awaitAlert(c, "NewRevision")
	promoted := a.awaitAlert(c, "Promoted")
	if began.Release == nil || promoted.Release == nil || began.Release.ID != promoted.Release.ID || began.Release.ID == "" {
		t.Fatalf("not one conversation: %+v, %+v", began, promoted)
	}
	if rel := promoted.Release; rel.From != "podinfo:6.0.0" || rel.To != "podinfo:6.0.1" || !rel.Final || promoted.Severity != "info" {
		t.Errorf("the end is told as %+v of %+v", promoted, rel)
	}

	r.answer(v1beta1.RolloutHook, http.StatusInternalServerError)
	a.release("6.0.2")
	failed := a.awaitAlert(c, "AnalysisFailed")
	if failed.Severity != "error" || failed.Release.ID == began.Release.ID || !containsAll(failed.Text, []string{"my-rollout", "answered 500"}) {
		t.Errorf("the rollback is told as %+v", failed)
	}

	// An alert that nobody gets is told, and holds up nothing.
	a.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Alerts[0].ProviderRef.Name = "missing" })
	r.answer(v1beta1.RolloutHook, http.StatusOK)
	a.release("6.0.3")
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.awaitEvent(rig.Name, "AlertNotSent", "missing", "there is none")
}
