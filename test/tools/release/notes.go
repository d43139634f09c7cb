package main

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// notes writes notes.md: the commits since the tag before, in the order in which they were made.
func (m *maker) notes(ctx context.Context) error {
	since, err := m.git(ctx, "describe", "--tags", "--abbrev=0", "--exclude", "v"+m.version)
	span := "HEAD"
	if err == nil {
		span = since + "..HEAD"
	}
	subjects, err := m.git(ctx, "log", "--no-merges", "--reverse", "--format=- %s", span)
	if err != nil {
		return err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "# Sluice %s\n\n", m.version)
	if since != "" {
		fmt.Fprintf(&out, "Changes since %s. What is deprecated, and until when, is in CHANGELOG.md.\n\n", since)
	}
	fmt.Fprintf(&out, "%s\n", subjects)
	return os.WriteFile(m.file("notes.md"), []byte(out.String()), 0o644)
}
