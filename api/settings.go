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

// sizes returns the limits of all callers.
func (s *Settings) sizes() limit.Sizes {
	return limit.Sizes{MaxPayload: s.MaxPayload, MaxStream: s.MaxStream, Holds: s.Holds}
}

// apply brings the settings into force, except for the directory.
func (s *Server) apply(settings Settings) {
	s.settings.Store(&settings)
	s.limits.SetSizes(settings.sizes())
	in := s.limits.Sizes()
	s.ingest.SetLimits(in.MaxPayload, in.MaxStream)
}
