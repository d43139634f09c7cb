// Package limits has Go's collector keep within the memory that the operator's container may have.
package limits

import (
	"fmt"
	"runtime/debug"
	"strconv"
)

const (
	// MemoryVariable is the variable of the environment that has the memory limit of the container, in bytes.
	MemoryVariable = "SLUICE_MEMORY_LIMIT"

	// ofLimit is how much of that Go may take, in percent: what it does not count, such as the program itself and what the
	// kernel has for it, counts for the container.
	ofLimit = 90
	// growth is by how much the heap may grow between collections, in percent of what is in use. Nearly all of that is
	// objects at rest, so that Go's own 100 would have as much again be taken at a start, and kept.
	growth = 50
)

// Set sets the limits, each unless the environment, which getenv gives, has Go's own variable for it: GOMEMLIMIT and GOGC. It is an
// error where the limit of the container is no number of bytes.
func Set(getenv func(string) string) error {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(growth)
	}
	limit := getenv(MemoryVariable)
	if limit == "" || getenv("GOMEMLIMIT") != "" {
		return nil
	}
	bytes, err := strconv.ParseInt(limit, 10, 64)
	if err != nil || bytes <= 0 {
		return fmt.Errorf("%s: %q is no number of bytes, which is more than 0", MemoryVariable, limit)
	}
	debug.SetMemoryLimit(bytes / 100 * ofLimit)
	return nil
}
