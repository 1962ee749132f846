// Package crash reports panics of goroutines in the format of the program's log
// and ends the process. Panics in goroutines of libraries are left to the
// runtime, which prints them and also ends the process.
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
