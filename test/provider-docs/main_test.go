package main

import (
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/providers/factory"
)

func TestReplace(t *testing.T) {
	for name, tc := range map[string]struct{ page, want string }{
		"an empty table": {"# Title\n" + begin + end + "text\n", "# Title\n" + begin + "| x |\n" + end + "text\n"},
		"an old table":   {begin + "| a |\n| b |\n" + end, begin + "| x |\n" + end},
		"no end":         {"# Title\n" + begin, ""},
		"no begin":       {"# Title\n" + end, ""},
		"the wrong way":  {end + begin, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := replace(tc.page, "| x |\n")
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

// Each router has a row, and each row as many cells.
func TestTable(t *testing.T) {
	out, err := table()
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(out), "\n")
	if want := 2 + len(factory.Names()); len(rows) != want {
		t.Errorf("%d rows, want %d", len(rows), want)
	}
	for _, r := range rows {
		if got, want := strings.Count(r, "|"), strings.Count(rows[0], "|"); got != want {
			t.Errorf("%s: %d bars, want %d", r, got, want)
		}
	}
}
