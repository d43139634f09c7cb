package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/webhooks/alerts/webhook"
)

// chat is a receiver of alerts.
type chat struct {
	mu       sync.Mutex
	messages []webhook.Payload
	headers  []http.Header
}

func (c *chat) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var p webhook.Payload
	if err := json.NewDecoder(r.Body).Decode(&p); err == nil {
		c.messages, c.headers = append(c.messages, p), append(c.headers, r.Header)
	}
}

// find gives the first message with a reason.
func (c *chat) find(reason string) (p webhook.Payload, h http.Header, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.messages, func(p webhook.Payload) bool { return p.Reason == reason })
	if i < 0 {
		return p, nil, fmt.Errorf("none with reason %s among %+v", reason, c.messages)
	}
	return c.messages[i], c.headers[i], nil
}

// testAlerts releases twice under an operator that tells a chat, whose address is
// in a Secret, of it: one release is one conversation, and what failed is told
// (pain 14). An AlertProvider that is not there is told to whoever looks at the
// Canary, and holds up nothing.
func testAlerts(t *testing.T, c *cluster.Cluster, api client.Client) {
	room := &chat{}
	server := httptest.NewServer(room)
	t.Cleanup(server.Close)
	s := &stage{t: t, api: api, namespace: "alerts"}
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
	s.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "room"},
		Data:       map[string][]byte{"address": []byte(server.URL + "/secret\n"), "hmac-key": []byte("k")},
	})
	s.create(&v1beta1.AlertProvider{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "room"},
		Spec:       v1beta1.AlertProviderSpec{Type: "webhook", SecretRef: &corev1.LocalObjectReference{Name: "room"}},
	})
	s.create((&trial{namespace: s.namespace}).deployment(oldImage))
	canary := s.canary(v1beta1.CoverageReport)
	canary.Spec.Analysis.Alerts = []v1beta1.CanaryAlert{
		{Name: "room", ProviderRef: v1beta1.CrossNamespaceObjectReference{Name: "room"}},
		{Name: "gone", Severity: v1beta1.SeverityInfo, ProviderRef: v1beta1.CrossNamespaceObjectReference{Name: "gone"}},
	}
	s.create(canary)
	operate(t, c, "-namespace", s.namespace, "-cluster-name", "eu-1", "-alert-link", "dash=https://g.example.com/{{ .Name }}")
	s.awaitPhase(v1beta1.PhaseInitialized)
	if err := api.Patch(t.Context(), (&trial{namespace: s.namespace}).deployment(newImage), client.RawPatch("application/json-patch+json",
		[]byte(`[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "`+newImage+`"}]`))); err != nil {
		t.Fatal(err)
	}
	s.awaitPhase(v1beta1.PhaseSucceeded)

	var start, end webhook.Payload
	var headers http.Header
	s.await("both messages", func(context.Context) (err error) {
		if start, headers, err = room.find("NewRevision"); err != nil {
			return err
		}
		end, _, err = room.find("Promoted")
		return err
	})
	if start.Release == nil || end.Release == nil || start.Release.ID != end.Release.ID || start.Release.Final || !end.Release.Final {
		t.Errorf("one release is one conversation: %+v, %+v", start.Release, end.Release)
	}
	if start.Release.From != oldImage || end.Release.From != oldImage || end.Release.To != newImage {
		t.Errorf("images %+v, %+v", start.Release, end.Release)
	}
	if end.Cluster != "eu-1" || len(end.Links) != 1 || end.Links[0].URL != "https://g.example.com/"+app || end.Release.StartedAt == "" {
		t.Errorf("the message lacks something: %+v", end)
	}
	if !strings.HasPrefix(headers.Get("Sluice-Signature"), "t=") {
		t.Errorf("headers %v", headers)
	}
	s.awaitEvent("AlertNotSent", []string{"AlertProvider alerts/gone: there is none"}, []string{"secret"})
}
