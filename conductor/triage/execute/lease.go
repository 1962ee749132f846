package execute

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"time"
)

// start notes when an intent was decided, by the monotonic clock.
func (e *Executor) start(i *Incident, s *Step) {
	if e.began == nil {
		e.began = map[string]time.Time{}
	}
	e.began[i.step(s)] = s.Decided
}

func (i *Incident) step(s *Step) string { return fmt.Sprintf("%s/%d", i.ID, s.Number) }

// stale reports whether an intent is too old to act on. After a restart there
// is only the wall clock, and an intent of the future is too old.
func (e *Executor) stale(i *Incident, s *Step) bool {
	began, ok := e.began[i.step(s)]
	if !ok {
		began = s.Decided
	}
	age := e.Now().Sub(began)
	return age < 0 || age > min(s.Timeout+fresh, oldest)
}

// leased reports whether an entry of this executor about a step is in the
// ledger, which is its lease.
func (i *Incident) leased() bool {
	own := func(e *Entry) bool { return e.Payload != nil && e.Recorded != nil }
	return slices.ContainsFunc(i.Steps, func(s *Step) bool { return own(&s.Intent) || own(&s.Outcome) })
}

// holds reports whether the lease of an incident cannot have been lost. The
// wall clock counts, because the process can be another one.
func (e *Executor) holds(i *Incident) bool {
	if e.Trails == nil || !i.leased() {
		return true
	}
	var recorded time.Time
	for _, s := range i.Steps {
		if s.Intent.Recorded != nil {
			recorded = later(recorded, s.Decided)
		}
		if s.Outcome.Recorded != nil {
			recorded = later(recorded, s.Finished)
		}
	}
	age := e.Now().Sub(recorded)
	return age >= 0 && age <= oldest
}

// taken leaves an incident to the other executor. The steps that the ledger
// contains are its concern. What this one did besides is undone, without
// entries of its own, because their keys are those of the other one.
func (e *Executor) taken(i *Incident) error {
	if i.Adopted != "" && !i.leased() {
		*i = Incident{
			ID: i.ID, Type: i.Type, Opened: i.Opened, Decay: i.Decay, Cleared: i.Cleared, ClearedAt: i.ClearedAt,
			State: Following, Reason: ErrTaken.Error(), Taken: true,
		}
		return e.save(i)
	}
	i.Taken, i.Request = true, nil
	for _, s := range i.Steps {
		if s.Undoes == 0 && s.Undone == "" && s.Intent.Recorded != nil {
			s.Undone = Kept
		}
	}
	if i.State == Closed {
		if e.confess(i); e.Trails != nil {
			i.State = Following
		}
		return e.save(i)
	}
	i.State, i.Reason = Undoing, ErrTaken.Error()
	if s := i.current(); s != nil && s.State == Read {
		if err := e.finish(i, s, Skipped, ErrTaken.Error()); err != nil {
			return err
		}
	}
	i.Retry = time.Time{}
	return e.save(i)
}

// confess notes the steps of an executor without the lease that the entries do
// not contain.
func (e *Executor) confess(i *Incident) {
	var lines []string
	size := 0
	for _, s := range i.Steps {
		if s.Confessed || !s.untold() {
			continue
		}
		line := fmt.Sprintf("%s on %s at %s, from sha256:%s to sha256:%s: %s", s.Action, s.Target, s.Called.UTC().Format(time.RFC3339), sum(s.Before), sum(s.After), s.State)
		if size += len(line) + 2; size > maxConfession {
			break
		}
		s.Confessed, lines = true, append(lines, line)
	}
	if len(lines) == 0 {
		return
	}
	number := i.noticed(ActionReplaced) + 1
	i.Notices = append(i.Notices, &Notice{Action: ActionReplaced, Of: e.name(), Number: number, Decided: e.Now(), Reason: "done without the ledger, and without the lease: " + strings.Join(lines, "; ")})
}

// untold reports whether the ledger lacks a call of the connector, or its
// effect.
func (s *Step) untold() bool {
	return !s.Called.IsZero() && (s.Intent.Recorded == nil || s.Outcome.Recorded == nil && (s.State == Confirmed || s.State == Foreign))
}

// maxConfession bounds the detail of a notice.
const maxConfession = 7000

// name distinguishes the state of this executor from that of others.
func (e *Executor) name() string {
	if e.Key != nil {
		return sum(e.Key[ed25519.PrivateKeySize-ed25519.PublicKeySize:])[:12]
	}
	return sum([]byte(e.Actor))[:12]
}
