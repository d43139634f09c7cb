package world

import (
	"errors"
	"fmt"
	"testing"
)

func TestAsMistake(t *testing.T) {
	plain := errors.New("the cache is away")
	for name, tc := range map[string]struct {
		err         error
		wantMessage string // empty: it is no mistake
		wantForeign bool
	}{
		"no error":       {},
		"another error":  {err: plain},
		"a mistake":      {err: Mistake(ReasonInvalidSpec, "spec.%s: no", "x"), wantMessage: "spec.x: no"},
		"a wrapped one":  {err: fmt.Errorf("observe: %w", Mistake(ReasonInvalidSpec, "no")), wantMessage: "no"},
		"a foreign one":  {err: Foreign(ReasonConflict, "it is theirs"), wantMessage: "it is theirs", wantForeign: true},
		"beside another": {err: errors.Join(plain, Foreign(ReasonConflict, "it is theirs")), wantMessage: "it is theirs", wantForeign: true},
	} {
		t.Run(name, func(t *testing.T) {
			got := AsMistake(tc.err)
			if (got != nil) != (tc.wantMessage != "") {
				t.Fatalf("mistake %+v", got)
			}
			if got != nil && (got.Message != tc.wantMessage || got.Foreign != tc.wantForeign || got.Reason == "") {
				t.Errorf("mistake %+v", got)
			}
		})
	}
}

// Of several mistakes all are found, however deep.
func TestMistakes(t *testing.T) {
	plain := errors.New("the cache is away")
	all := Mistakes(errors.Join(Mistake(ReasonInvalidSpec, "a"), plain, fmt.Errorf("observe: %w", errors.Join(Missing("TargetMissing", "b"), Foreign(ReasonConflict, "c")))))
	var got string
	for _, m := range all {
		got += m.Message
	}
	if got != "abc" || !all[1].Missing || !all[2].Foreign || all[0].Missing {
		t.Errorf("%+v", all)
	}
	if more := Mistakes(plain); more != nil || Mistakes(nil) != nil {
		t.Errorf("%+v", more)
	}
}
