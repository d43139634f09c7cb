package main

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is how much later than asked the kernel may end the sleep of a thread.
// A thread of Go's runtime looks after the others every 20 to 100 microseconds
// while they work, and they work for a moment at a time: that was a sixth of all that
// the operator took, and at 4 milliseconds still an eighth. What it looks for may wait
// so long, and so may every timer of ours.
const timerSlack = 20 * time.Millisecond

// relax gives all threads of the process the timerSlack. A thread has it from the
// one that made it, and the first ones are there before main is, so that the program
// is started anew, in the same process. Where that is not allowed, it goes on as it is.
func relax() {
	runtime.LockOSThread() // the slack is a thread's, and the thread that starts the program anew keeps it
	defer runtime.UnlockOSThread()
	if now, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || now >= int(timerSlack) {
		return
	}
	program, err := os.Executable()
	if err != nil {
		return
	}
	if unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0) == nil {
		_ = syscall.Exec(program, os.Args, os.Environ()) //nolint:gosec // it is this program
	}
}
