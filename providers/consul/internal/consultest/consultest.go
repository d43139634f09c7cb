// Package consultest has what the tests of the packages for Consul have in common: a Canary, what it
// may have, and config entries from lines of text.
package consultest

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

// Step are sessions in the midst of a release.
var Step = providers.Sessions{Canary: "a", Primary: "1", Raised: 10}

// Aliased are the annotations of pods that are instances of the apex service.
func Aliased() map[string]string {
	return map[string]string{"consul.hashicorp.com/connect-service": "podinfo"}
}

// Canary is a Canary test/podinfo, changed as asked.
func Canary(change ...func(*v1beta1.Canary)) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 80},
			Analysis:  &v1beta1.CanaryAnalysis{StepWeight: 10},
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// Matching adds to spec.analysis.match.
func Matching(raw ...string) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) {
		for _, r := range raw {
			c.Spec.Analysis.Match = append(c.Spec.Analysis.Match, v1beta1.RawObject{Raw: []byte(r)})
		}
	}
}

// Sticky has sessions stay where they are.
func Sticky(c *v1beta1.Canary) {
	c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "v"}
}

// Serving changes spec.service.
func Serving(change func(*v1beta1.CanaryService)) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) { change(&c.Spec.Service) }
}

// Object is a part of a spec from JSON.
func Object(s string) *v1beta1.RawObject { return &v1beta1.RawObject{Raw: []byte(s)} }

// Weights lead a share to the canary, in percent.
func Weights(canary int32) providers.Traffic {
	return providers.Traffic{Primary: 100 - canary, Canary: canary}
}

// Having reads entries, one a line: KIND NAME JSON. "ours" before it puts the mark of test/podinfo on it.
func Having(t *testing.T, lines ...string) entries.Set {
	t.Helper()
	out := entries.Set{}
	for i, line := range lines {
		line, ours := strings.CutPrefix(line, "ours ")
		kind, remaining, _ := strings.Cut(line, " ")
		name, body, _ := strings.Cut(remaining, " ")
		fields := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(body), &fields); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		fields["Kind"], fields["Name"] = json.RawMessage(strconv.Quote(kind)), json.RawMessage(strconv.Quote(name))
		fields["ModifyIndex"] = json.RawMessage(strconv.Itoa(10 + i))
		encoded, err := json.Marshal(fields)
		Must(t, err)
		e, err := entries.Parse(encoded)
		Must(t, err)
		if ours {
			e.Meta[entries.CanaryMeta] = "test/podinfo"
		}
		out[e.Key] = e
	}
	return out
}

// Diff reports what differs.
func Diff(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// Must ends a test on an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
