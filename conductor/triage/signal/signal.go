// Package signal reads the messages of monitoring systems into one normal form.
// See docs/spec/triage.md, section 2.
package signal

import "time"

// The states of a signal.
const (
	Firing   = "firing"
	Resolved = "resolved"
)

// Limits of one signal, in bytes if nothing else is given.
const (
	MaxName       = 256 // characters
	MaxLabels     = 64
	MaxLabelName  = 256
	MaxLabelValue = 1024
	MaxLabelBytes = 16 << 10 // of all names and values
	MaxTraces     = 16

	maxAnnotations = 64
	maxAnnotation  = 64 << 10
)

// maxAhead is how far the clock of a sender can be ahead.
const maxAhead = time.Minute

// A Signal is an observation that something is wrong, or no longer is.
type Signal struct {
	Source string // the input
	Name   string
	State  string // Firing or Resolved
	Labels map[string]string

	Starts   time.Time // by the clock of the sender
	Ends     time.Time // zero while it fires
	Received time.Time // by our own clock
	Skewed   bool      // a time was replaced, because it cannot be right

	Traces []string // W3C trace IDs, sorted

	// Quiet, if not 0, ends the episode when no signal has been received for
	// this time, because the source does not report resolutions.
	Quiet time.Duration

	// Sender is who has sent it, if there are several senders, or else "".
	Sender string
}

// settle replaces times that cannot be right.
func (s *Signal) settle() {
	if s.Starts.After(s.Received.Add(maxAhead)) {
		s.Starts, s.Skewed = s.Received, true
	}
	if s.State == Firing {
		s.Ends = time.Time{}
		return
	}
	if s.Ends.After(s.Received) {
		s.Skewed = s.Skewed || s.Ends.After(s.Received.Add(maxAhead))
		s.Ends = s.Received
	}
	if s.Ends.Before(s.Starts) {
		s.Ends, s.Skewed = s.Starts, true
	}
}
