// Package crash reports the panics of goroutines in the form of the program's
// log, and ends the process. Panics of a library's own goroutines are left to
// the runtime, which prints them and ends the process, too.
package crash

import (
	"runtime/debug"
	"sync/atomic"
)

var report atomic.Pointer[func(value any, stack []byte)]

// OnPanic sets the function that reports a panic and ends the process. Without
// one, panics are left to the runtime.
func OnPanic(f func(value any, stack []byte)) { report.Store(&f) }

// Report is deferred first in each goroutine of a server. It must be called by
// the defer statement itself.
func Report() {
	f := report.Load()
	if f == nil {
		return
	}
	if v := recover(); v != nil {
		(*f)(v, debug.Stack())
	}
}
