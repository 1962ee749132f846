package datadir

import (
	"fmt"

	"muniment.dev/muniment/api/limit"
)

// A HeldConfig limits what callers hold at once. Its keys are the labels of the
// metric muniment_held.
type HeldConfig struct {
	Bytes                 HeldLimit `yaml:"bytes"`
	Calls                 HeldLimit `yaml:"calls"`
	Uploads               HeldLimit `yaml:"uploads"`
	AnswerStreams         HeldLimit `yaml:"answer_streams"`
	Watchers              HeldLimit `yaml:"watchers"`
	PublicRequests        HeldLimit `yaml:"public_requests"`
	BytesOfPublicRequests HeldLimit `yaml:"bytes_of_public_requests"`
	Refusals              HeldLimit `yaml:"refusals"`
}

// A HeldLimit limits one resource. Zero is the default.
type HeldLimit struct {
	Total int64 `yaml:"total"` // of all callers
	Each  int64 `yaml:"each"`  // of one tenant or address
}

// Limits returns the limits for the server.
func (h *HeldConfig) Limits() limit.HeldLimits {
	var l limit.HeldLimits
	for r, c := range map[limit.Resource]HeldLimit{
		limit.Bytes: h.Bytes, limit.Calls: h.Calls, limit.Uploads: h.Uploads, limit.Answers: h.AnswerStreams, limit.Watchers: h.Watchers,
		limit.Public: h.PublicRequests, limit.PublicBytes: h.BytesOfPublicRequests, limit.Refusals: h.Refusals,
	} {
		l[r] = limit.HeldLimit{Total: c.Total, Owner: c.Each}
	}
	return l
}

// Check returns an error unless the limits are valid.
func (h *HeldConfig) Check() error {
	for r, l := range h.Limits() {
		name := limit.Resource(r).Label()
		switch {
		case l.Total < 0:
			return fmt.Errorf("%s.total: must be at least 1, or 0 for the default", name)
		case l.Owner < 0:
			return fmt.Errorf("%s.each: must be at least 1, or 0 for the default", name)
		case l.Total > 0 && l.Owner > l.Total:
			return fmt.Errorf("%s.each: must be at most total, %d", name, l.Total)
		}
	}
	return nil
}
