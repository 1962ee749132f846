package operate

import (
	"fmt"
	"os"
	"time"

	"muniment.dev/muniment/ledger"
)

// testClock names an environment variable with the time by which the clock of a
// server is ahead. The linker sets it for a test of servers whose clocks
// differ, and no release has it.
var testClock string

// clockOffset returns by how much the clock of this server is ahead: 0 except
// in a test.
func clockOffset() (time.Duration, error) {
	if testClock == "" {
		return 0, nil
	}
	offset, err := time.ParseDuration(os.Getenv(testClock))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", testClock, err)
	}
	return offset, nil
}

// An offsetClock is the clock of this machine in a test of servers whose clocks
// differ.
type offsetClock struct {
	ledger.Clock
	offset time.Duration
}

// Now implements ledger.Clock.
func (c offsetClock) Now() (time.Time, time.Duration) {
	wall, monotonic := c.Clock.Now()
	return wall.Add(c.offset), monotonic
}

func (c offsetClock) time() time.Time { return time.Now().Add(c.offset) }
