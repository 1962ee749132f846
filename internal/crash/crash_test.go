package crash

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	defer report.Store(nil)
	var value any
	var trace string
	OnPanic(func(v any, stack []byte) { value, trace = v, string(stack) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer Report()
		panic("lost")
	}()
	if <-done; value != "lost" || !strings.Contains(trace, "TestReport") {
		t.Errorf("reported %v with this stack:\n%s", value, trace)
	}
}

// TestWithoutFunction checks that a panic continues if no function is set to
// report it.
func TestWithoutFunction(t *testing.T) {
	defer func() {
		if v := recover(); v != "lost" {
			t.Errorf("recovered %v", v)
		}
	}()
	func() {
		defer Report()
		panic("lost")
	}()
}
