package api

import "muniment.dev/muniment/api/limit"

// Settings are the part of a Config that [Server.Reload] replaces while the
// server runs.
type Settings struct {
	Directory
	MaxPayload int64 // bytes of the payload of one submission, at most LargestPayload
	MaxStream  int64 // bytes of one payload that is streamed; 0 means 1 GiB
	// Holds limits what callers hold at once, such as bytes, calls and streams.
	// A zero is the default.
	Holds      limit.Limits
	PublicTlog bool // serve /tlog/ without credentials
}

const (
	// LargestPayload is the largest MaxPayload.
	LargestPayload = 1 << 30
	// defaultMaxStream is MaxStream where it is 0.
	defaultMaxStream = 1 << 30
)

// largestSettings have the largest limits that can be configured.
var largestSettings = &Settings{MaxPayload: LargestPayload}

// apply brings the settings in force, except for the directory.
func (s *Server) apply(settings Settings) {
	if settings.MaxStream == 0 {
		settings.MaxStream = defaultMaxStream
	}
	s.settings.Store(&settings)
	s.ingest.SetLimits(settings.MaxPayload, settings.MaxStream)
	s.book.SetLimits(settings.holds())
}
