package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// gcPercent lets the heap, which is small, grow further between collections
	// than Go does by itself. GOGC and GOMEMLIMIT have the last word.
	gcPercent = 200
	// processors is how many the operator uses at once. Most of its time it waits for
	// the API server, and threads that wake one another for each answer cost an
	// eighth of all that it takes. GOMAXPROCS has the last word.
	processors = 1
)

// frugal sets what the environment does not. It may start the program anew, so it
// comes before everything else.
func frugal() {
	relax()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processors)
	}
}
