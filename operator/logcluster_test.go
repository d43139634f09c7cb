package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// testLog has an operator make the primaries of two applications that the API
// server warns of in the same words, and reads all that it logged. The log ends with
// the operator, so that a second warning would be in it.
func testLog(t *testing.T, c *cluster.Cluster, api client.Client) {
	first, second := &stage{t: t, api: api, namespace: "log-1"}, &stage{t: t, api: api, namespace: "log-2"}
	for _, s := range []*stage{first, second} {
		s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
		deployment := (&trial{namespace: s.namespace}).deployment(oldImage)
		deployment.Spec.Template.Annotations["seccomp.security.alpha.kubernetes.io/pod"] = "runtime/default"
		s.create(deployment)
		s.create(s.canary(v1beta1.CoverageReport))
	}
	o, err := parseFlags([]string{"-port", "0"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	config, err := kubeConfig(c.Kubeconfig(), o)
	if err != nil {
		t.Fatal(err)
	}
	var log safeBuffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- start(ctx, config, o, wiring{registry: prometheus.NewRegistry(), log: newLogger(&log, slog.LevelInfo, encodingJSON), oneOfMany: true})
	}()
	for _, s := range []*stage{first, second} {
		s.awaitPhase(v1beta1.PhaseInitialized)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatalf("operator: %v", err)
	}
	sources, warnings := 0, 0
	for line := range strings.Lines(log.String()) {
		var entry struct{ Msg, Source string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		if strings.Contains(line, "!ERROR") {
			t.Errorf("the encoder failed: %s", line)
		}
		if entry.Msg == "Starting EventSource" && strings.HasPrefix(entry.Source, "kind source: ") {
			sources++
		}
		if strings.Contains(entry.Msg, "seccomp.security.alpha.kubernetes.io/pod") {
			warnings++
		}
	}
	if sources == 0 {
		t.Errorf("no source of events is named in:\n%s", log.String())
	}
	if warnings != 1 {
		t.Errorf("a warning of two objects is logged %d times in:\n%s", warnings, log.String())
	}
}
