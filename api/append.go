package api

import (
	"context"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
)

// append is the way of all submissions that come over HTTP: which kinds the
// caller may append, what the tenant's limits leave, and then ingest. The error
// is for all of them; those of single submissions are in the results.
func (s *Server) append(ctx context.Context, id *identity, subs []ingest.Submission) ([]ledger.Result, error) {
	results := make([]ledger.Result, len(subs))
	allowed := make([]ingest.Submission, 0, len(subs))
	place := make([]int, 0, len(subs))
	bytes := int64(0)
	for i := range subs {
		if results[i].Err = id.mayAppend(subs[i].Kind); results[i].Err == nil {
			allowed = append(allowed, subs[i])
			place = append(place, i)
			bytes += int64(len(subs[i].Payload))
		}
	}
	if len(allowed) == 0 {
		return results, nil
	}
	q := s.quota(id.tenant.Name)
	if err := s.takeEntries(ctx, q, int64(len(allowed)), bytes); err != nil {
		return nil, err
	}
	defer q.release(int64(len(allowed)), bytes)
	appended, err := s.ingest.Append(ctx, id.submitter(), allowed)
	if err != nil {
		return nil, err
	}
	for i, r := range appended {
		results[place[i]] = r
	}
	return results, nil
}
