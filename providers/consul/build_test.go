package consul

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// canary is a Canary test/podinfo, changed as asked.
func canary(change ...func(*v1beta1.Canary)) *v1beta1.Canary {
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

func matching(raw ...string) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) {
		for _, r := range raw {
			c.Spec.Analysis.Match = append(c.Spec.Analysis.Match, v1beta1.RawObject{Raw: []byte(r)})
		}
	}
}

func sticky(c *v1beta1.Canary) {
	c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "v"}
}

func serving(change func(*v1beta1.CanaryService)) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) { change(&c.Spec.Service) }
}

func object(s string) *v1beta1.RawObject { return &v1beta1.RawObject{Raw: []byte(s)} }

// having reads entries, one a line: KIND NAME JSON. "ours" before it puts our mark on it.
func having(t *testing.T, lines ...string) entries {
	t.Helper()
	out := entries{}
	for i, line := range lines {
		line, ours := strings.CutPrefix(line, "ours ")
		kind, rest, _ := strings.Cut(line, " ")
		name, body, _ := strings.Cut(rest, " ")
		fields, err := decode([]byte(body))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		fields["Kind"], fields["Name"] = kind, name
		e := entry{key: key{kind, name}, meta: map[string]string{}, index: uint64(10 + i)}
		for k, v := range mapIn(fields["Meta"]) {
			e.meta[k], _ = v.(string)
		}
		if ours {
			e.meta[canaryMeta] = "test/podinfo"
		}
		if e.body, err = decodeBody([]byte(body)); err != nil {
			t.Fatal(err)
		}
		out[e.key] = e
	}
	return out
}

func mapIn(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// show is a plan as having reads it: what is wanted, then what is not.
func show(p plan) []string {
	var out []string
	for _, e := range p.wanted {
		line := fmt.Sprintf("%s %s %s", e.kind, e.name, canonical(e.body))
		for _, k := range slices.Sorted(func(yield func(string) bool) {
			for k := range e.meta {
				if k != canaryMeta && !yield(k) {
					return
				}
			}
		}) {
			line += " " + k + "=" + e.meta[k]
		}
		out = append(out, line)
	}
	for _, k := range p.unwanted {
		out = append(out, "no "+k.kind+" "+k.name)
	}
	return out
}

// only are the lines of some kinds.
func only(lines []string, kinds ...string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return !slices.ContainsFunc(kinds, func(kind string) bool { return strings.HasPrefix(strings.TrimPrefix(line, "no "), kind+" ") })
	})
}

func diff(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func weights(canary int32) providers.Traffic {
	return providers.Traffic{Primary: 100 - canary, Canary: canary}
}
