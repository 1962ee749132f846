// Package monitor follows logs continuously. It checks that each log only
// grows, watches new entries for listed identities and subjects, and raises
// alerts.
//
// It follows any log served as C2SP tlog-tiles (https://c2sp.org/tlog-tiles).
// Package audit checks the log. Its state, stored with the alerts in one file
// per log, is the reference against which a fork is detected. The content of
// new entries is read from the leaves of a Rekor v2 log, or for a Muniment
// tenant over the API with the tenant's token.
//
// Each log has its own loop and deadlines, and its alerts are bounded in number
// and size, so that no log can suppress the alerts for another. A log that
// cannot be read raises an alert, too.
package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// Kinds of alerts.
const (
	Forked     = "forked"
	Truncated  = "truncated"
	Unsound    = "unsound"
	Incomplete = "incomplete"
	Unread     = "unread"
	Stalled    = "stalled"
	Unexpected = "unexpected"
	Recovered  = "recovered" // a notice, not a standing alert
)

// kinds lists all kinds, the most severe first. Alerts are delivered and kept
// in this order.
var kinds = []struct{ name, help string }{
	{Forked, "two signed checkpoints that contradict each other"},
	{Truncated, "the log is shorter than it was"},
	{Unsound, "a signature, tile, entry or root does not verify"},
	{Incomplete, "entries of the tenant's stream are missing, repeated or out of order"},
	{Unread, "the log could not be read for too long"},
	{Recovered, "the log can be read again"},
	{Stalled, "no newer checkpoint for too long"},
	{Unexpected, "an entry with a listed identity or subject"},
}

// rank returns the position of a kind in kinds.
func rank(kind string) int {
	return slices.IndexFunc(kinds, func(k struct{ name, help string }) bool { return k.name == kind })
}

// An Alert is a finding that needs a person's attention.
type Alert struct {
	Log     string    `json:"log"` // its name in the configuration
	Origin  string    `json:"origin"`
	Kind    string    `json:"kind"`
	Message string    `json:"message"`
	Time    time.Time `json:"time"` // when it was first found

	Index   *uint64 `json:"index,omitempty"` // of an unexpected entry
	Matched string  `json:"matched,omitempty"`
	// In a summary: the number of omitted alerts of this kind.
	More uint64 `json:"more,omitempty"`
	// Kept and Offered are the evidence of a fork.
	Kept    string              `json:"keptCheckpoint,omitempty"`
	Offered string              `json:"offeredCheckpoint,omitempty"`
	Stream  *audit.StreamReport `json:"stream,omitempty"`

	Key       string `json:"key"` // equal for repeated findings of the same alert
	Delivered bool   `json:"delivered"`
}

// A Log is a log to follow.
type Log struct {
	Name   string
	Source audit.Source
	Policy *receipt.TrustPolicy
	// AnyLeaf accepts leaves of any format. Rekor reads them as those of a
	// Rekor v2 log.
	AnyLeaf, Rekor bool
	// FromNow begins at the log's size in the first round, instead of at its
	// first entry.
	FromNow bool

	StreamKey  *entry.StreamKey // nil: no stream is audited
	ExpectNext *uint64          // see audit.Options
	Entries    Entries          // reads the tenant's new entries; nil: they are not read

	Quiet  time.Duration // longest time without growth; 0: no limit
	Unread time.Duration // longest time without reading the log; 0: no limit
	// Timeout limits a round; 0: no limit. The source limits single requests.
	Timeout time.Duration
	// MaxAge is the largest age of the newest cosignature of a witness of the
	// policy; 0: no limit.
	MaxAge time.Duration

	Watch Watch
}

// Entries reads the content of entries, which the tiles do not reveal. It calls
// f with each entry from an index on, in order, and returns the index to
// continue from.
type Entries func(ctx context.Context, from uint64, f func(Entry) error) (next uint64, err error)

// An Entry describes an entry of a log.
type Entry struct {
	Index      uint64
	Seq        *uint64 // in the tenant's stream
	Identities []string
	Subjects   []string // algorithm:value
	What       string   // for the message
}

// A Watch defines unexpected entries: those with one of the identities or
// subjects, and none of the expected subjects.
type Watch struct {
	Identities []string // * matches any text
	Subjects   []string // algorithm:value
	Expected   []string // subjects, algorithm:value
}

func (w *Watch) match(e *Entry) (string, bool) {
	for _, s := range e.Subjects {
		for _, x := range w.Expected {
			if s == x {
				return "", false
			}
		}
	}
	for _, id := range e.Identities {
		for _, x := range w.Identities {
			if glob.MatchText(x, id) {
				return id, true
			}
		}
	}
	for _, s := range e.Subjects {
		for _, x := range w.Subjects {
			if s == x {
				return s, true
			}
		}
	}
	return "", false
}

// A visit is one round of one log.
type visit struct {
	log   *Log
	state *state
	now   time.Time
	round *Round

	alerts alerts
	read   bool // the log was read, even if its checkpoint shows a fork
}

// maxFetches is the number of files of a log in memory at a time. A bundle of
// another log's entries has up to 16 MiB.
const maxFetches = 4

// audit checks the log from where the last visit ended.
func (v *visit) audit(ctx context.Context) error {
	l, st := v.log, v.state
	if st.Audit == nil && l.FromNow {
		begun, err := audit.Begin(ctx, l.Source, l.Policy)
		if err != nil {
			return v.failed(err)
		}
		st.Audit, st.Grown = begun, v.now
	}
	// The entries are verified only if the audit succeeds.
	found := visit{log: l, now: v.now}
	o := audit.Options{AnyLeaf: l.AnyLeaf, StreamKey: l.StreamKey, ExpectNext: l.ExpectNext, Concurrency: maxFetches}
	if l.Rekor {
		o.Entry = func(index uint64, data []byte) error {
			if index == 0 {
				found.alerts = alerts{} // the audit restarted
			}
			e := rekorEntry(index, data)
			if matched, ok := l.Watch.match(&e); ok {
				found.alertFor(Unexpected, func() Alert { return unexpected(&e, matched) })
			}
			return nil
		}
	}
	before := st.Audit.Size()
	report, next, err := audit.Run(ctx, l.Source, l.Policy, st.Audit, o)
	if err != nil && !errors.Is(err, audit.ErrStream) {
		return v.failed(err)
	}
	if err != nil {
		v.alert(Alert{Kind: Incomplete, Message: err.Error(), Stream: report.Stream, Key: Incomplete + " " + short(err.Error())})
	}
	for _, a := range found.alerts.kept {
		v.alert(a)
	}
	if n := found.alerts.count[Unexpected]; n > maxOfKind {
		v.alerts.count[Unexpected] += n - maxOfKind
	}
	if report.Size > before || st.Grown.IsZero() {
		st.Grown = v.now
	}
	v.round.New = report.Size - before
	v.read = true
	st.Audit, st.streamNext = next, 0
	if report.Stream != nil {
		st.streamNext = report.Stream.Next
	}
	return nil
}

// failed turns an error of an audit into an alert, or returns it if the log
// could not be read.
func (v *visit) failed(err error) error {
	kind := Unsound
	switch {
	case errors.Is(err, audit.ErrUnavailable), errors.Is(err, audit.ErrState):
		return err
	case errors.Is(err, audit.ErrForked):
		kind, v.read = Forked, true
	case errors.Is(err, audit.ErrTruncated):
		kind, v.read = Truncated, true
	}
	a := Alert{Kind: kind, Message: err.Error()}
	var c *audit.Conflict
	if errors.As(err, &c) {
		a.Kept, a.Offered = c.Kept, c.Offered
	}
	a.Key = kind + " " + short(a.Offered+a.Message)
	v.alert(a)
	return nil
}

func unexpected(e *Entry, matched string) Alert {
	return Alert{Kind: Unexpected, Index: &e.Index, Matched: matched, Message: fmt.Sprintf("entry %d: %s", e.Index, e.What), Key: fmt.Sprintf("%s %d", Unexpected, e.Index)}
}

// entries checks the tenant's new entries, and compares their number with the
// stream in the tiles.
func (v *visit) entries(ctx context.Context) error {
	l, st := v.log, v.state
	nextSeq := st.NextSeq
	next, err := l.Entries(ctx, st.NextIndex, func(e Entry) error {
		if e.Seq != nil {
			if *e.Seq != nextSeq {
				want := nextSeq
				v.alertFor(Incomplete, func() Alert {
					return Alert{Kind: Incomplete, Index: &e.Index, Message: fmt.Sprintf("the API shows entry %d of the stream at index %d, where entry %d belongs", *e.Seq, e.Index, want), Key: fmt.Sprintf("%s api %d", Incomplete, e.Index)}
				})
			}
			nextSeq = *e.Seq + 1
		}
		if matched, ok := l.Watch.match(&e); ok {
			v.alertFor(Unexpected, func() Alert { return unexpected(&e, matched) })
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: the tenant's entries: %w", l.Name, err)
	}
	st.NextIndex, st.NextSeq = next, nextSeq
	if st.streamNext > st.NextSeq {
		v.alert(Alert{Kind: Incomplete, Message: fmt.Sprintf("the public log has %d entries of the stream, and the API shows %d: the server hides some from its own tenant", st.streamNext, st.NextSeq), Key: fmt.Sprintf("%s hidden %d", Incomplete, st.NextSeq)})
	}
	return nil
}

// stalled raises alerts for a log that has not grown, or was not cosigned, for
// too long.
func (v *visit) stalled() {
	l, st := v.log, v.state
	if st.Grown.IsZero() { // it was never read
		st.Grown = v.now
	}
	if quiet := v.now.Sub(st.Grown); l.Quiet > 0 && quiet > l.Quiet {
		v.alert(Alert{Kind: Stalled, Message: fmt.Sprintf("no newer checkpoint for %s: the log has had %d entries since %s", quiet.Round(time.Second), st.Audit.Size(), st.Grown.UTC().Format(time.RFC3339)), Key: fmt.Sprintf("%s at %d", Stalled, st.Audit.Size())})
	}
	if l.MaxAge == 0 || st.Audit == nil {
		return
	}
	newest, ok := witnessTime(l.Policy, []byte(st.Audit.Checkpoint))
	if age := v.now.Sub(newest); !ok {
		v.alert(Alert{Kind: Stalled, Message: "no witness of the policy has cosigned the checkpoint", Key: Stalled + " unwitnessed"})
	} else if age > l.MaxAge {
		v.alert(Alert{Kind: Stalled, Message: fmt.Sprintf("the newest cosignature of a witness is %s old", age.Round(time.Second)), Key: fmt.Sprintf("%s since %d", Stalled, newest.Unix())})
	}
}

// witnessTime returns the time of the newest cosignature of the checkpoint by a
// witness of the policy.
func witnessTime(policy *receipt.TrustPolicy, signed []byte) (newest time.Time, ok bool) {
	for _, w := range policy.Witnesses() {
		n, err := note.Open(signed, note.VerifierList(w.Key))
		if err != nil {
			continue
		}
		if t, err := torchwood.CosignatureTimestamp(n.Sigs[0]); err == nil && t >= newest.Unix() {
			newest, ok = time.Unix(t, 0), true
		}
	}
	return newest, ok
}
