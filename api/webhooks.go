package api

import (
	"context"
	"slices"
	"sync"
	"time"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/notify"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/posture"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// Webhooks delivers events about the tenants' findings and exceptions until the
// context ends.
func (s *Server) Webhooks(ctx context.Context, d notify.Deliveries) {
	m := s.cfg.Metrics
	n := notify.New(notify.Config{Source: &eventSource{Server: s}, Deliveries: d, Log: s.log, Now: s.now, Interval: s.cfg.WebhookInterval, Tried: m.eventTried})
	s.reloading.Lock()
	s.notifier = n
	n.Set(s.settings.Load().Webhooks)
	s.reloading.Unlock()
	m.notifier.Store(n)
	n.Run(ctx)
}

// An eventSource has the events of the server's tenants.
type eventSource struct {
	*Server

	mu      sync.Mutex
	reviews map[entry.Hash]*review
}

// A review has the passes of a stream that would no longer be passes.
type review struct {
	mu     sync.Mutex // held while passes are decided again
	causes [3]uint64  // newest entries of the kinds in reviewedKinds, plus one
	at     time.Time
	events []posture.Event
}

// Tenants implements notify.Source. Of several servers only the one that
// commits delivers events.
func (s *eventSource) Tenants() []string {
	if s.cfg.Cluster != nil && !s.cfg.Cluster.Writer().Self {
		return nil
	}
	var names []string
	for _, t := range s.settings.Load().Tenants {
		if !t.Suspended {
			names = append(names, t.Name)
		}
	}
	return names
}

// Events implements notify.Source.
func (s *eventSource) Events(ctx context.Context, tenant string, lead time.Duration) ([]posture.Event, error) {
	tenants := s.settings.Load().Tenants
	i := slices.IndexFunc(tenants, func(t auth.Tenant) bool { return t.Name == tenant })
	if i < 0 { // it was removed meanwhile
		return nil, nil
	}
	stream := tenants[i].Stream
	events, err := s.posture.Events(ctx, stream, lead)
	if err != nil {
		return nil, err
	}
	affected, err := s.affected(ctx, tenant, stream)
	return append(events, affected...), err
}

// reviewedKinds are the kinds whose new entries make the server decide passes
// again: events of keys, decisions about exceptions, and attestations, which
// contain VEX statements.
var reviewedKinds = [3]string{kindname.KeyEvent, kindname.ExceptionDecision, kindname.Attestation}

const (
	reviewInterval = 5 * time.Minute     // between reviews because of attestations
	reviewSpan     = 30 * 24 * time.Hour // of the passes that are decided again
	maxReviewed    = 10_000              // passes
)

// affected returns an event for each recent pass that would no longer be one
// because of a key event, a VEX statement or an exception. It decides passes
// again only if the stream has new entries that can be the cause.
func (s *eventSource) affected(ctx context.Context, tenant string, stream *ledger.Stream) ([]posture.Event, error) {
	r := s.reviewOf(stream)
	r.mu.Lock()
	defer r.mu.Unlock()
	var causes [3]uint64
	for i, kind := range reviewedKinds {
		page, err := s.ledger.List(ctx, stream, ledger.Query{Filter: ledger.Filter{Kind: kind}, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(page.Entries) > 0 {
			causes[i] = page.Entries[0].Index + 1
		}
	}
	now := s.now()
	quiet := causes[0] == r.causes[0] && causes[1] == r.causes[1]
	if quiet && (causes[2] == r.causes[2] || now.Sub(r.at) < reviewInterval) {
		return r.events, nil
	}
	var events []posture.Event
	q := &decide.PassQuery{Since: now.Add(-reviewSpan), Limit: maxReviewed}
	_, err := s.decider.Affected(ctx, tenant, stream, q, func(a *decide.Affected, _ decide.Span) error {
		if a == nil {
			return nil
		}
		e, err := s.affectedEvent(ctx, stream, a)
		if e != nil {
			events = append(events, *e)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r.causes, r.at, r.events = causes, now, events
	return events, nil
}

func (s *eventSource) reviewOf(stream *ledger.Stream) *review {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.reviews[stream.ID]
	if r == nil {
		if s.reviews == nil {
			s.reviews = map[entry.Hash]*review{}
		}
		r = &review{}
		s.reviews[stream.ID] = r
	}
	return r
}

// An affectedData describes a pass that would no longer be one.
type affectedData struct {
	Entry       uint64          `json:"entry"` // of the pass
	Artifact    string          `json:"artifact,omitempty"`
	Digest      []string        `json:"digest"`
	Stage       string          `json:"stage"`
	Environment string          `json:"environment,omitempty"`
	Now         string          `json:"now"` // blocked or undecided
	Causes      []affectedCause `json:"causes"`
}

type affectedCause struct {
	Control string   `json:"control,omitempty"`
	Change  string   `json:"change"`
	Text    string   `json:"text"`
	Entries []uint64 `json:"entries,omitempty"`
}

// affectedEvent returns the event about a pass, or nil if no entry is its
// cause. It happened when the newest of these entries was recorded.
func (s *eventSource) affectedEvent(ctx context.Context, stream *ledger.Stream, a *decide.Affected) (*posture.Event, error) {
	data := &affectedData{Entry: a.Index, Stage: a.Decision.Stage, Environment: a.Decision.Environment, Now: string(a.Now.Decision)}
	if len(a.Decision.Subjects) > 0 {
		data.Artifact = a.Decision.Subjects[0].Name
		for alg, value := range a.Decision.Subjects[0].Digest {
			data.Digest = append(data.Digest, entry.CanonicalDigest(alg, value).String())
		}
		slices.Sort(data.Digest)
	}
	newest, found := uint64(0), false
	for _, c := range a.Causes {
		data.Causes = append(data.Causes, affectedCause{c.Control, string(c.Change), c.Text, c.Entries})
		for _, index := range c.Entries {
			newest, found = max(newest, index), true
		}
	}
	if !found {
		return nil, nil
	}
	cause, err := s.ledger.Entry(ctx, stream, newest)
	if err != nil {
		return nil, err
	}
	e := posture.NewEvent(posture.PassAffected, time.UnixMilli(int64(cause.Skeleton.Time)), data, stream.ID, a.Index, newest)
	return &e, nil
}
