package api

import (
	"context"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
)

// append records submissions of every HTTP protocol: it checks the kinds that
// the caller may append, takes from the tenant's limits, and calls ingest. The
// error is for all of them; those of single submissions are in the results.
func (s *Server) append(ctx context.Context, id *auth.Identity, subs []ingest.Submission) ([]ledger.Result, error) {
	entries, bytes := int64(0), int64(0)
	for i := range subs {
		if subs[i].Refused == nil {
			subs[i].Refused = mayAppend(id, subs[i].Kind)
		}
		if subs[i].Refused == nil {
			entries++
			bytes += int64(len(subs[i].Payload))
		}
	}
	if entries > 0 {
		q := s.limits.Usage(id.Tenant.Name)
		if err := s.limits.TakeEntries(ctx, q, entries, bytes); err != nil {
			return nil, err
		}
		defer q.Release(entries, bytes)
	}
	return s.ingest.Append(ctx, id.Submitter(), subs)
}
