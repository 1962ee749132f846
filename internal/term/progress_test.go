package term

import (
	"io"
	"runtime"
	"testing"
)

// TestByteBarHasNoGoroutine checks that only its writer changes a bar. The
// library's goroutine that turns a spinner reads the bar's state without its
// lock.
func TestByteBarHasNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	bars := []io.Writer{bytesBar(io.Discard, "visible"), (&App{Stderr: io.Discard}).ProgressBytes("silent")}
	if after := runtime.NumGoroutine(); after != before {
		t.Errorf("%d goroutines, want %d", after, before)
	}
	for _, b := range bars {
		if _, err := b.Write([]byte("text")); err != nil {
			t.Error(err)
		}
	}
}
