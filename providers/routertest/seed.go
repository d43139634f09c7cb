package routertest

import (
	"flag"
	"testing"
)

// FixSeed has the generator of a property draw the same cases each time, so that a change is judged by what it
// changes. Others are looked for with -rapid.seed=N, any other number.
func FixSeed(t *testing.T) {
	t.Helper()
	f := flag.Lookup("rapid.seed")
	if f == nil || f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set("1"); err != nil {
		t.Fatal(err)
	}
}
