package api

import (
	"cmp"
	"context"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/notify"
)

// Settings are the part of a Config that [Server.Reload] replaces while the
// server runs.
type Settings struct {
	auth.Directory
	MaxPayload int64 // bytes of the payload of one submission, at most LargestPayload
	MaxStream  int64 // bytes of one payload that is streamed; 0 means 1 GiB
	// Held limits what callers hold at once, such as bytes, calls and streams.
	// A zero is the default.
	Held       limit.HeldLimits
	PublicTlog bool // serve /tlog/ without credentials
	// MetricsByTenant names the tenants in the metrics about findings,
	// exceptions and coverage, and the environments and sources of inventories.
	MetricsByTenant bool
	// CoverageStage is the stage whose controls the metrics about coverage
	// measure; "": DefaultCoverageStage.
	CoverageStage string
	// Webhooks receive events about findings and exceptions.
	Webhooks []notify.Hook
}

// sizes returns the limits of all callers.
func (s *Settings) sizes() limit.Sizes {
	return limit.Sizes{MaxPayload: s.MaxPayload, MaxStream: s.MaxStream, Held: s.Held}
}

// coverageStage returns the stage whose controls coverage is measured by.
func (s *Settings) coverageStage() string { return cmp.Or(s.CoverageStage, DefaultCoverageStage) }

// Reload replaces the tenants with their tokens, rules and limits, the issuers
// of identity tokens, the operators, and the limits of all callers. Calls in
// progress finish under the old limits. Callers whose credentials are gone are
// refused from now on, and their streams end with the next message. After an
// error nothing has changed.
//
// Removing a tenant removes all its credentials, including those recorded in
// its stream. Its entries stay.
func (s *Server) Reload(ctx context.Context, settings Settings) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if err := s.auth.Reload(ctx, settings.Directory); err != nil {
		return err
	}
	s.apply(settings)
	if s.notifier != nil {
		s.notifier.Set(settings.Webhooks)
	}
	s.handlers.Clear() // those of removed tenants among them
	return nil
}

// apply brings the settings into force, except for the directory.
func (s *Server) apply(settings Settings) {
	s.settings.Store(&settings)
	s.limits.SetSizes(settings.sizes())
	in := s.limits.Sizes()
	s.ingest.SetLimits(in.MaxPayload, in.MaxStream)
}
