// Package monitor follows logs for ever: it checks that each one only grows,
// looks for what the user has listed in what is new, and raises alerts.
//
// A log is any that is served as C2SP tlog-tiles (https://c2sp.org/tlog-tiles).
// Package audit checks it, and its state, kept with the alerts in one file for
// each log, is what a fork is measured against. What new entries say is read
// where they can be read: the leaves of a Rekor v2 log, and those of a Muniment
// tenant over the API, with the tenant's token.
//
// Each log has a loop and deadlines of its own, and its alerts are bounded in
// number and size: whatever a log answers, the alerts of the others are raised.
// A log that can't be read is an alert, too.
//
// It is not for repairing anything, and asks no witness: it is a view of its
// own.
package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/clients/go/audit"
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
	Recovered  = "recovered" // a notice, which never stands
)

// kinds are all of them, the gravest first. In that order alerts are delivered
// and kept.
var kinds = []struct{ name, help string }{
	{Forked, "two signed checkpoints that can't both be true"},
	{Truncated, "the log is shorter than it was"},
	{Unsound, "what is served does not verify"},
	{Incomplete, "the tenant's stream lacks entries, has some twice, or out of order"},
	{Unread, "the log could not be read for too long"},
	{Recovered, "the log can be read again"},
	{Stalled, "no newer checkpoint for too long"},
	{Unexpected, "an entry with a listed identity or subject"},
}

// rank returns the place of a kind among all.
func rank(kind string) int {
	return slices.IndexFunc(kinds, func(k struct{ name, help string }) bool { return k.name == kind })
}

// An Alert is something that a person should look at.
type Alert struct {
	Log     string    `json:"log"` // its name in the configuration
	Origin  string    `json:"origin"`
	Kind    string    `json:"kind"`
	Message string    `json:"message"`
	Time    time.Time `json:"time"` // when it was found first

	Index   *uint64 `json:"index,omitempty"` // of an unexpected entry
	Matched string  `json:"matched,omitempty"`
	// of a summary: alerts of the kind that are left out
	More uint64 `json:"more,omitempty"`
	// with the next, the evidence of a fork
	Kept    string              `json:"keptCheckpoint,omitempty"`
	Offered string              `json:"offeredCheckpoint,omitempty"`
	Stream  *audit.StreamReport `json:"stream,omitempty"`

	Key       string `json:"key"` // the same alert found again has the same
	Delivered bool   `json:"delivered"`
}

// A Log is one to follow.
type Log struct {
	Name   string
	Source audit.Source
	Policy *receipt.TrustPolicy
	// AnyLeaf says that it is not a Muniment log of streams. With Rekor, its
	// leaves are read.
	AnyLeaf, Rekor bool
	// FromNow begins at the size that the log has when it is first seen,
	// instead of reading it from its first entry.
	FromNow bool

	StreamKey  *entry.StreamKey // nil: no stream is proven complete
	ExpectNext *uint64          // see audit.Options
	Entries    Entries          // reads the tenant's new entries; nil: they can't be read

	Quiet  time.Duration // longest time without growth; 0: any
	Unread time.Duration // longest time in which the log can't be read; 0: any
	// Timeout is the longest time that a round may take; 0: any. Single
	// requests are bounded by the source.
	Timeout time.Duration
	// largest age of the newest cosignature of a witness of the policy; 0: any
	MaxAge time.Duration

	Watch Watch
}

// Entries reads entries that the tiles don't show. It calls f with each from an
// index on, in order, and returns the index to go on from.
type Entries func(ctx context.Context, from uint64, f func(Entry) error) (next uint64, err error)

// An Entry is what is known of an entry.
type Entry struct {
	Index      uint64
	Seq        *uint64 // in its stream
	Identities []string
	Subjects   []string // algorithm:value
	What       string   // for the message
}

// A Watch says which entries are unexpected: those that have one of the
// identities, or one of the subjects, and none of the expected subjects.
type Watch struct {
	Identities []string // a * stands for any text
	Subjects   []string // algorithm:value
	Expected   []string // subjects that the user knows of
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
			if glob(x, id) {
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

// glob says whether the text is that of the pattern, in which * stands for any
// text.
func glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	for _, p := range parts[1 : len(parts)-1] {
		at := strings.Index(rest, p)
		if at < 0 {
			return false
		}
		rest = rest[at+len(p):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

// A visit is one look at one log.
type visit struct {
	log   *Log
	state *state
	now   time.Time
	round *Round

	alerts alerts
	read   bool // the log was read; a checkpoint that shows a fork was read, too
}

// maxFetches is how many files of a log are held in memory at a time. A bundle
// of another log's entries has up to 16 MiB.
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
	// What the entries are holds only if the audit succeeds.
	found := visit{log: l, now: v.now}
	o := audit.Options{AnyLeaf: l.AnyLeaf, StreamKey: l.StreamKey, ExpectNext: l.ExpectNext, Concurrency: maxFetches}
	if l.Rekor {
		o.Entry = func(index uint64, data []byte) error {
			if index == 0 {
				found.alerts = alerts{} // the audit began again
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

// entries looks at the tenant's entries that are new, and compares their number
// with what the tiles show.
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

// stalled looks at how old the newest that is known of the log is.
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

// witnessTime returns when a witness of the policy has cosigned the checkpoint
// last.
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
