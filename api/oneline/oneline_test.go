package oneline_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sluice-delivery/sluice/api/oneline"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestOf(t *testing.T) {
	for name, tc := range map[string]struct {
		text  string
		limit int
		want  string
	}{
		"as it is":             {"spec.provider: “x” 日本", 100, "spec.provider: “x” 日本"},
		"two lines":            {"a\nReady: True", 100, "a Ready: True"},
		"marks of direction":   {"ok\u202e)ton\u2066", 100, "ok)ton"},
		"a bell and a colour":  {"a\a\x1b[31mb", 100, "a  [31mb"},
		"not UTF-8":            {"a\xffb", 100, "ab"},
		"long":                 {strings.Repeat("x", 20), 10, "xxxxxxx..."},
		"cut in a letter":      {"日本日本日本", 10, "日本..."},
		"long, but not shown":  {strings.Repeat("\u200b", 20) + "x", 10, "x"},
		"no room for anything": {"abcdef", 3, "..."},
	} {
		t.Run(name, func(t *testing.T) {
			got := oneline.Of(tc.text, tc.limit)
			if got != tc.want || len(got) > tc.limit || !utf8.ValidString(got) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if again := oneline.Of(got, tc.limit); again != got {
				t.Errorf("done twice it is %q", again)
			}
		})
	}
}

// What a condition says is compared with what it was to say, however much of it there is room for.
func TestConditionSays(t *testing.T) {
	for _, message := range []string{"", "short", "a\nb", strings.Repeat("x", 9000)} {
		s := &v1beta1.CanaryStatus{}
		c := v1beta1.CanaryCondition{Type: v1beta1.ConditionReady, Message: message}
		if !s.SetCondition(c, time.Time{}) || s.SetCondition(c, time.Time{}.Add(time.Hour)) {
			t.Errorf("%.20q: set twice, it is another", message)
		}
		if is := s.GetCondition(v1beta1.ConditionReady); !is.Says(message) || is.Says(message+"y") && len(message) < 100 || len(is.Message) > 4096 {
			t.Errorf("%.20q: it says %.20q", message, is.Message)
		}
	}
	if s := (&v1beta1.CanaryStatus{}); s.GetCondition(v1beta1.ConditionReady).Says("") {
		t.Error("a condition that is not there says something")
	}
}
