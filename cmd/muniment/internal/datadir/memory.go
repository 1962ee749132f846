package datadir

import (
	"os"
	"runtime/debug"
)

// TuneMemoryTo sets the collector's target and the limit of Go's heap in bytes,
// unless GOGC and GOMEMLIMIT set them.
func TuneMemoryTo(gcPercent int, memoryLimit int64) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
