package rpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/rpcdetail"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Gates implements GateService.
type Gates struct {
	Ledger  *ledger.Ledger
	Ingest  *ingest.Ingester
	Decider *decide.Decider
	Limits  *limit.Limiter
	Public  Public
	Drain   Drain
	// Inventory reads what exists and runs.
	Inventory *inventory.Reader
	// Key signs the attestations of passes. Nil: they are not published.
	Key *attest.Signer
	// Spool keeps the decisions on a replica, which cannot record them.
	Spool *spool.Spool
	// Decided is called for each decision, with what was done with it.
	Decided func(decision, recorded string)

	submitting sync.Map // stream ID to a channel that is full during a submission
}

// What is done with a decision.
const (
	Recorded    = "yes"
	Repeated    = "repeated" // counted, because an entry has it
	Spooled     = "spooled"  // on a replica, to be recorded later
	NotRecorded = "no"       // a dry run, or about the past
)

// RecordedLabels lists what is done with decisions.
var RecordedLabels = []string{Recorded, Repeated, Spooled, NotRecorded}

// recordBatch is the number of decisions that one commit records.
const recordBatch = 500

// A gateCall is one call of Decide.
type gateCall struct {
	*Gates
	id       *auth.Identity
	question decide.Question
	subjects []*munimentv1.GateSubject
	records  bool
	gate     string // in the spool
	out      []*munimentv1.SubjectDecision
	fresh    []int // indexes in out of the decisions to record
	keys     []string
	explains bool
	results  [][]evaluate.Result // as in out, if the call explains
}

// Decide decides about artifacts, and records what it has not recorded before.
func (s *Gates) Decide(ctx context.Context, req *connect.Request[munimentv1.DecideRequest]) (*connect.Response[munimentv1.DecideResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if err := s.Limits.Take(ctx, limit.DecisionBytes*artifactsOf(req.Msg)); err != nil {
		return nil, s.Public(err)
	}
	state := s.state()
	c := &gateCall{Gates: s, id: id, question: decide.Question{Stage: req.Msg.Stage, Environment: req.Msg.Environment}, subjects: req.Msg.Subjects, records: !req.Msg.DryRun, gate: cmp.Or(req.Msg.Gate, decide.GateReplica), explains: req.Msg.Explain && len(req.Msg.Subjects) <= decide.MaxExplained}
	switch at := req.Msg.At.(type) {
	case *munimentv1.DecideRequest_TreeSize:
		if at.TreeSize == 0 {
			return nil, rpcerr.Field(connect.CodeInvalidArgument, "tree_size", "must be at least 1")
		}
		c.question.At.Size, c.records = at.TreeSize, false
	case *munimentv1.DecideRequest_Time:
		c.question.At.Time, c.records = at.Time.AsTime(), false
		if c.question.At.Time.IsZero() { // which decide takes for now
			return nil, rpcerr.Field(connect.CodeInvalidArgument, "time", "must be after the year 1")
		}
	}
	if len(req.Msg.ControlSet) > 0 {
		if c.question.Candidate, err = readCandidate(ctx, id.Tenant.Name, req.Msg); err != nil {
			return nil, s.Public(err)
		}
		c.records = false
	}
	if err := checkDigests(req.Msg.Subjects); err != nil {
		return nil, err
	}
	artifacts := make([]decide.Artifact, len(req.Msg.Subjects))
	for i, m := range req.Msg.Subjects {
		artifacts[i] = decide.ArtifactOf(m)
	}
	err = s.Decider.Decide(ctx, id.Tenant.Name, id.Tenant.Stream, &c.question, artifacts, func(i int, d *evaluate.Decision) error {
		if c.explains {
			c.results = append(c.results, d.Results)
		}
		return c.add(ctx, decide.Message(d, &c.question, &artifacts[i]), &artifacts[i])
	})
	if err == nil {
		err = c.record(ctx)
	}
	if err == nil && c.explains {
		err = c.Decider.Explain(ctx, id.Tenant.Stream, c.out, c.results)
	}
	if err != nil {
		return nil, notYet(s.Public, "at", err)
	}
	c.count()
	return connect.NewResponse(&munimentv1.DecideResponse{Decisions: c.out, TreeSize: state.TreeSize, AsOf: state.AsOf, Log: state.Log}), nil
}

// state returns what the server has of the log.
func (s *Gates) state() *munimentv1.LogState { return logState(s.Ledger) }

func logState(l *ledger.Ledger) *munimentv1.LogState {
	asOf := timestamppb.New(l.AsOf()) // first: it is not later than the size
	return &munimentv1.LogState{Log: l.Origin(), TreeSize: l.Published().Size, AsOf: asOf}
}

// notYet returns the error that the caller sees, which names the field if the
// moment in it is not in the past.
func notYet(public Public, field string, err error) error {
	if errors.Is(err, decide.ErrNotYet) {
		return rpcerr.Field(connect.CodeOutOfRange, field, "%s", err)
	}
	return public(err)
}

// artifactsOf returns the number of artifacts in a request: each part of a
// subject is decided about by itself.
func artifactsOf(r *munimentv1.DecideRequest) (n int64) {
	for _, s := range r.Subjects {
		n += max(1, int64(len(s.Parts)))
	}
	return n
}

// checkDigests refuses artifacts with several digests. Evidence about one of
// them proves nothing about the others, which a recorded pass would vouch for.
func checkDigests(subjects []*munimentv1.GateSubject) error {
	for i, s := range subjects {
		if len(s.Artifact.GetDigest()) > 1 {
			return rpcerr.Field(connect.CodeInvalidArgument, fmt.Sprintf("subjects[%d].artifact.digest", i), "must have one digest: ask about each by itself")
		}
		for k, p := range s.Parts {
			if len(p.Digest) > 1 {
				return rpcerr.Field(connect.CodeInvalidArgument, fmt.Sprintf("subjects[%d].parts[%d].digest", i, k), "must have one digest")
			}
		}
	}
	return nil
}

// add adds a decision to the answer. It is fresh if no entry has it.
func (c *gateCall) add(ctx context.Context, m *munimentv1.GateDecision, a *decide.Artifact) error {
	one := &munimentv1.SubjectDecision{Decision: m}
	c.out = append(c.out, one)
	if !c.records {
		return nil
	}
	if c.Ledger.IsReplica() {
		return c.spool(one)
	}
	page, err := c.earlier(ctx, m)
	if err != nil {
		return err
	}
	key := fmt.Sprintf("gate/%s/after/none", m.Inputs)
	if len(page) > 0 {
		key = fmt.Sprintf("gate/%s/after/%d", m.Inputs, page[0].Index)
	}
	if own := newestOwn(page); own != nil {
		same, err := c.repeats(ctx, m, own)
		if err != nil {
			return err
		}
		if same {
			one.Index, one.Repeated = &own.Index, true
			return nil
		}
	}
	c.fresh, c.keys = append(c.fresh, len(c.out)-1), append(c.keys, key)
	return c.publish(ctx, m, a)
}

// spool keeps a decision of a replica until the log records it.
func (c *gateCall) spool(one *munimentv1.SubjectDecision) (err error) {
	if c.Spool == nil {
		return fmt.Errorf("keep a decision of the replica: %w: ask with dry_run", spool.ErrNone)
	}
	subject := c.subjects[len(c.out)-1]
	document, err := decide.SpooledDocument(c.Ledger.Origin(), c.id.Tenant.Name, c.gate, c.id.Submitter().Identity, subject, one.Decision)
	if err == nil {
		one.Spooled, err = c.Spool.Put(document)
	}
	return err
}

// maxEarlier is the number of entries that a decision is compared with.
const maxEarlier = 32

// earlier returns the newest entries with decisions from the same inputs, the
// newest first.
func (c *gateCall) earlier(ctx context.Context, m *munimentv1.GateDecision) ([]ledger.Entry, error) {
	page, err := c.Ledger.List(ctx, c.id.Tenant.Stream, ledger.Query{Filter: ledger.Filter{Kind: kindname.GateDecision, Attribute: "inputs=" + m.Inputs}, Limit: maxEarlier})
	if err != nil {
		return nil, err
	}
	return page.Entries, nil
}

// newestOwn returns the newest entry with a decision that the log has made
// itself, or nil.
func newestOwn(newestFirst []ledger.Entry) *ledger.Entry {
	for i := range newestFirst {
		if newestFirst[i].Header.Attributes["spooled"] == "" {
			return &newestFirst[i]
		}
	}
	return nil
}

// repeats reports whether a decision repeats the one of an entry, which is
// still valid.
func (c *gateCall) repeats(ctx context.Context, m *munimentv1.GateDecision, e *ledger.Entry) (bool, error) {
	since, err := time.Parse(time.RFC3339Nano, e.Header.Attributes["decided"])
	if err != nil || m.Decided.AsTime().Before(since) {
		return false, nil
	}
	until, err := time.Parse(time.RFC3339Nano, e.Header.Attributes["validUntil"])
	if err != nil || !m.Decided.AsTime().Before(until) {
		return false, nil
	}
	p, err := c.Ledger.Payload(ctx, e)
	if err != nil || p == nil {
		return false, err
	}
	recorded := &munimentv1.GateDecision{}
	if err := protojson.Unmarshal(p.Content, recorded); err != nil {
		return false, nil // recorded again
	}
	if !decide.SameOutcome(m, recorded) {
		return false, nil
	}
	m.Attestations = recorded.Attestations
	return true, nil
}

// record records the fresh decisions. Callers that ask the same at the same
// time use the same key, and only one of them records it.
func (c *gateCall) record(ctx context.Context) error {
	entries, bytes := int64(len(c.fresh)), int64(0)
	if entries == 0 {
		return nil
	}
	for _, at := range c.fresh {
		bytes += int64(proto.Size(c.out[at].Decision))
	}
	q := c.Limits.Usage(c.id.Tenant.Name)
	if err := c.Limits.TakeEntries(ctx, q, entries, bytes); err != nil {
		return err
	}
	defer q.Release(entries, bytes)
	for from := 0; from < len(c.fresh); from += recordBatch {
		if err := c.recordSome(ctx, from, min(from+recordBatch, len(c.fresh))); err != nil {
			return err
		}
	}
	return nil
}

func (c *gateCall) recordSome(ctx context.Context, from, to int) error {
	var all []ingest.Recording
	var first []*munimentv1.SubjectDecision // of those with the same key
	byKey := map[string]*munimentv1.SubjectDecision{}
	for i := from; i < to; i++ {
		one, key := c.out[c.fresh[i]], c.keys[i]
		if byKey[key] == nil { // an artifact can be asked for twice in a call
			byKey[key] = one
			all, first = append(all, ingest.Recording{Key: key, Message: one.Decision}), append(first, one)
		}
	}
	results, err := c.Ingest.RecordAll(ctx, c.id.Submitter(), kindname.GateDecision, all)
	if err != nil {
		return err
	}
	for i, r := range results {
		one := first[i]
		switch {
		case errors.Is(r.Err, ledger.ErrKeyReused): // another call was first
			page, err := c.earlier(ctx, one.Decision)
			if err != nil {
				return err
			}
			if e := newestOwn(page); e != nil {
				one.Index, one.Repeated = &e.Index, true
			}
		case r.Err != nil:
			return r.Err
		default:
			one.Index, one.Repeated = &r.Index, r.Duplicate
		}
	}
	for i := from; i < to; i++ {
		if one, same := c.out[c.fresh[i]], byKey[c.keys[i]]; one != same {
			one.Index, one.Repeated = same.Index, true
		}
	}
	return nil
}

func (c *gateCall) count() {
	for _, one := range c.out {
		switch {
		case one.Spooled != "":
			c.Decided(one.Decision.Decision, Spooled)
		case one.Index == nil:
			c.Decided(one.Decision.Decision, NotRecorded)
		case one.Repeated:
			c.Decided(one.Decision.Decision, Repeated)
		default:
			c.Decided(one.Decision.Decision, Recorded)
		}
	}
}

// GetControlSet returns the control set in force.
func (s *Gates) GetControlSet(ctx context.Context, req *connect.Request[munimentv1.GetControlSetRequest]) (*connect.Response[munimentv1.GetControlSetResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	state := s.state()
	res, err := s.controlSet(ctx, id.Tenant.Stream)
	if err != nil {
		// Without a control set, too, the answer depends on the state.
		return nil, rpcdetail.Add(s.Public(err), state)
	}
	res.State = state
	return connect.NewResponse(res), nil
}

func (s *Gates) controlSet(ctx context.Context, stream *ledger.Stream) (*munimentv1.GetControlSetResponse, error) {
	in, err := s.Decider.InForce(ctx, stream)
	if err != nil {
		return nil, err
	}
	return in.Response()
}
