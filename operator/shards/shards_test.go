package shards

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func of(shard, holder string) *v1beta1.Canary {
	c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "u"}}
	if shard != "" {
		c.Labels = map[string]string{"sluice.dev/shard": shard}
	}
	c.Status.Shard = holder
	return c
}

func TestTurn(t *testing.T) {
	const a, b, none = "sluice.dev/shard=a", "sluice.dev/shard=b", "!sluice.dev/shard"
	for name, tc := range map[string]struct {
		selector string
		canary   *v1beta1.Canary
		want     Turn
	}{
		"its own":                         {a, of("a", a), Serve},
		"its own, that nobody has":        {a, of("a", ""), Take},
		"its own, that another has":       {a, of("a", b), Wait},
		"another's":                       {a, of("b", b), Leave},
		"another's, that nobody has":      {a, of("b", ""), Leave},
		"another's by now":                {a, of("b", a), LetGo},
		"nobody's by now":                 {a, of("", a), LetGo},
		"of those without the label":      {none, of("", none), Serve},
		"with the label, of those":        {none, of("a", none), LetGo},
		"all, and nobody has it":          {"", of("a", ""), Serve},
		"all, and another one has it":     {"", of("a", a), Wait},
		"written in another way, its own": {"sluice.dev/shard in (a)", of("a", "sluice.dev/shard in (a)"), Serve},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(tc.selector)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := s.Turn(tc.canary, now); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

// An operator that is gone never lets go. The one that waits for it takes the Canary in the end, and begins to wait anew for
// another one.
func TestHandOver(t *testing.T) {
	s, err := New("sluice.dev/shard=a")
	if err != nil {
		t.Fatal(err)
	}
	c := of("a", "sluice.dev/shard=b")
	for _, step := range []struct {
		after time.Duration
		want  Turn
		left  time.Duration
	}{{0, Wait, HandOver}, {HandOver - time.Second, Wait, time.Second}, {HandOver, Take, 0}} {
		if got, left := s.Turn(c, now.Add(step.after)); got != step.want || left != step.left {
			t.Errorf("after %s: %d, %s, want %d, %s", step.after, got, left, step.want, step.left)
		}
	}
	c.Status.Shard = s.Name()
	if got, _ := s.Turn(c, now.Add(HandOver)); got != Serve {
		t.Errorf("got %d once it is taken", got)
	}
	c.Status.Shard = "sluice.dev/shard=c"
	if got, left := s.Turn(c, now.Add(2*HandOver)); got != Wait || left != HandOver {
		t.Errorf("got %d, %s for another one that has it", got, left)
	}
	again := of("a", "sluice.dev/shard=c")
	again.UID = "another"
	if got, left := s.Turn(again, now.Add(3*HandOver)); got != Wait || left != HandOver {
		t.Errorf("got %d, %s for another Canary of its name", got, left)
	}
}

func TestNobodysShard(t *testing.T) {
	var s *Shard
	if got, _ := s.Turn(of("a", "b"), now); got != Serve {
		t.Errorf("got %d", got)
	}
	for _, selector := range []string{"a in", "x=" + strings.Repeat("a", 300)} {
		if _, err := New(selector); err == nil {
			t.Errorf("%q was taken for a selector", selector)
		}
	}
}
