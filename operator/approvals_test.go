package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	slackapi "github.com/slack-go/slack"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/approvals"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/webhooks/interactions/interactionstest"
)

const signingSecret = "8f742231b10e8888abcd99yyyzzz85a5"

// slackRoom is Slack: it takes messages and answers to presses.
type slackRoom struct {
	mu      sync.Mutex
	posts   []url.Values
	answers []slackapi.WebhookMessage
}

func (r *slackRoom) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasPrefix(q.URL.Path, "/answers") {
		var m slackapi.WebhookMessage
		if err := json.NewDecoder(q.Body).Decode(&m); err == nil {
			r.answers = append(r.answers, m)
		}
		return
	}
	if err := q.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.posts = append(r.posts, q.PostForm)
	fmt.Fprintf(w, `{"ok": true, "channel": "releases", "ts": "%d.0"}`, len(r.posts))
}

// choices are the values of the buttons of the last message that has some, and its attachments.
func (r *slackRoom) choices() (map[string]string, []slackapi.Attachment, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.posts) - 1; i >= 0; i-- {
		var all []slackapi.Attachment
		if err := json.Unmarshal([]byte(r.posts[i].Get("attachments")), &all); err != nil || len(all) < 2 {
			continue
		}
		out := map[string]string{}
		block := all[1].Blocks.BlockSet[0].(*slackapi.ActionBlock)
		for _, e := range block.Elements.ElementSet {
			b := e.(*slackapi.ButtonBlockElement)
			out[b.Text.Text] = b.Value
		}
		return out, all, block.BlockID
	}
	return nil, nil, ""
}

// testApprovals has people open a gate by a button in Slack: who has the right in the cluster may, who has not is told so.
func testApprovals(t *testing.T, c *cluster.Cluster, api client.Client) {
	room := &slackRoom{}
	server := httptest.NewServer(room)
	t.Cleanup(server.Close)
	closed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not yet", http.StatusForbidden) }))
	t.Cleanup(closed.Close)
	s := &actionStage{stage: &stage{t: t, api: api, namespace: "approvals"}, cluster: c}
	s.installPolicies()
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
	s.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "people"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sluice-actions"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "on-call"}},
	})
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "bot"}, Data: map[string][]byte{"token": []byte("xoxb-1")}})
	s.create(&v1beta1.AlertProvider{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "room"},
		Spec: v1beta1.AlertProviderSpec{
			Type: "slack", Address: server.URL + "/chat.postMessage", SecretRef: &corev1.LocalObjectReference{Name: "bot"}, Approvals: true,
		},
	})
	s.create((&trial{namespace: s.namespace}).deployment(oldImage))
	canary := s.canary(v1beta1.CoverageReport)
	canary.Spec.Analysis = &v1beta1.CanaryAnalysis{Interval: "1s", Threshold: 2, StepWeights: []int32{20}}
	canary.Spec.Analysis.Alerts = []v1beta1.CanaryAlert{{Name: "room", ProviderRef: v1beta1.CrossNamespaceObjectReference{Name: "room"}}}
	canary.Spec.Analysis.Webhooks = []v1beta1.CanaryWebhook{{Name: "people", Type: v1beta1.ConfirmRolloutHook, URL: closed.URL}}
	s.create(canary)
	to := s.takePresses("team: T1\nusers:\n  U1: {user: alice, groups: [on-call]}\n  U2: {user: bob}\n")
	s.awaitPhase(v1beta1.PhaseInitialized)
	s.release(newImage)
	var choices map[string]string
	s.await("a message with buttons", func(context.Context) error {
		if choices, _, _ = room.choices(); choices["Approve"] == "" {
			return errors.New("there is none")
		}
		return nil
	})
	for _, tc := range []struct{ member, says string }{
		{"U9", "Nobody of the cluster is known to be member U9 of workspace T1"},
		{"U2", "You are bob in the cluster, who has no right to create canaryactions.sluice.dev in approvals."},
		{"U1", "Approved by alice (in Slack, as al)."},
		{"U1", "does not wait at this gate any more"},
	} {
		s.press(to, server.URL+"/answers/1", tc.member, choices["Approve"], room, tc.says)
	}
	s.awaitWeight(20)
}

// takePresses starts an operator that takes presses, and gives the URL for them.
func (s *actionStage) takePresses(users string) string {
	s.t.Helper()
	s.t.Setenv("SLACK_SIGNING_SECRET", signingSecret)
	file := filepath.Join(s.t.TempDir(), "users.yaml")
	if err := os.WriteFile(file, []byte(users), 0o600); err != nil {
		s.t.Fatal(err)
	}
	address := s.freeAddress()
	s.t.Cleanup(operateUntil(s.t, s.cluster, "-namespace", s.namespace, "-allowed-addresses", loopback, "-slack-approvals-address", address, "-slack-approvals-users", file))
	return "http://" + address + approvals.Path
}

// press has Slack tell of a press, and waits until it is told what came of it.
func (s *actionStage) press(to, answer, member, value string, room *slackRoom, says string) {
	s.t.Helper()
	_, attachments, block := room.choices()
	room.mu.Lock()
	before := len(room.answers)
	room.mu.Unlock()
	request, err := interactionstest.Request(s.t.Context(), to, signingSecret, time.Now(), interactionstest.Press{
		Team: "T1", User: member, Name: "al", Block: block, Value: value, Answer: answer, Message: map[string]any{"text": "gate", "attachments": attachments},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	got, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(got.Body)
	got.Body.Close()
	if err != nil || got.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %d %s, %v", member, got.StatusCode, text, err)
	}
	s.await("an answer to "+member, func(context.Context) error {
		room.mu.Lock()
		defer room.mu.Unlock()
		if len(room.answers) == before {
			return errors.New("there is none")
		}
		m := room.answers[len(room.answers)-1]
		said := m.Text
		if m.ReplaceOriginal {
			said = m.Attachments[len(m.Attachments)-1].Text
		}
		if !strings.Contains(said, says) {
			s.t.Errorf("%s was told %q, want %q", member, said, says)
		}
		return nil
	})
}
