package execute

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// errNumber is the reason of an incident whose identifier the ledger has, while
// no other executor is known that acts.
var errNumber = errors.New("the ledger has entries of this incident already: another executor acts, or the state of this one was lost; give both --read-token-file and --takeover-key-file")

// A Latest is the latest incident of a type and key in the ledger.
type Latest struct {
	Number uint64    // 0: there is none
	Closed bool      // it has ended, or cannot be read any more
	Time   time.Time // of its latest entry of an executor, by the ledger
}

// Numbers are those of the incidents in the ledger.
type Numbers interface {
	// Latest returns the latest incident with a prefix, which is an identifier
	// up to its number. The error wraps ErrWait before the ledger was read.
	Latest(prefix string) (Latest, error)
}

// Latest implements Numbers.
func (w *Watcher) Latest(prefix string) (Latest, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.complete.IsZero() {
		return Latest{}, fmt.Errorf("%w: the numbers of incidents were not read yet", ErrWait)
	}
	l := w.latest[prefix]
	t := w.trails[prefix+strconv.FormatUint(l.Number, 10)]
	l.Closed = t == nil || t.Closed || t.Fault != ""
	return l, nil
}

// count notes the number of the incident of an executor's entry.
func (w *Watcher) count(e *munimentv1.Entry) {
	incident := e.Attributes["incident"]
	prefix := incident[:strings.LastIndexByte(incident, '-')+1]
	n, err := strconv.ParseUint(strings.TrimPrefix(incident, prefix), 10, 64)
	if err != nil {
		return // not the identifier of an incident
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n >= w.latest[prefix].Number {
		w.latest[prefix] = Latest{Number: n, Time: e.Time.AsTime()}
	}
}

// leave ends the steps of an incident that the ledger has from elsewhere.
// Without a takeover key, it is not known who acts. The executor that acts
// without the ledger then passes the incident to people.
func (e *Executor) leave(i *Incident) {
	switch {
	case e.Trails != nil:
		i.State = Following
	case e.Standby || i.Cleared || i.leased():
		i.State, i.Ended = Closed, e.Now()
	default:
		i.State, i.Reason = Escalated, errNumber.Error()
	}
}

// Unused reports whether a closed incident has used nothing: it has no entries,
// and another can have its identifier.
func (i *Incident) Unused() bool {
	return i.State == Closed && !i.Taken && len(i.Steps)+len(i.Notices) == 0
}
