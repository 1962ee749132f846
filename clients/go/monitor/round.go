package monitor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"muniment.dev/muniment/internal/crash"
)

// A Round is the result of one round of a log.
type Round struct {
	Log      string  `json:"log"`
	Origin   string  `json:"origin"`
	Size     uint64  `json:"size"`
	New      uint64  `json:"new"`    // number of entries read
	Standing []Alert `json:"alerts"` // all current alerts, and those about entries of this round
	Found    []Alert `json:"-"`      // new alerts, and a recovery
	// Dropped is the number of alerts that were neither kept nor delivered.
	Dropped   int `json:"-"`
	Delivered int `json:"-"` // number of alerts delivered to the webhook
	// Err is set if the log could not be read, the state not be saved, or the
	// webhook not be reached.
	Err error `json:"-"`
}

// A Monitor follows logs. Dir contains a state file for each.
type Monitor struct {
	Dir     string
	Logs    []Log
	Now     func() time.Time
	Deliver func(context.Context, *Alert) error // to the webhook; nil: no delivery
}

// deliveryTime limits the deliveries after a round, and thus the delay of the
// next round by a slow webhook.
const deliveryTime = 30 * time.Second

// Rounds performs one round of every log, all concurrently.
func (m *Monitor) Rounds(ctx context.Context) []Round {
	out := make([]Round, len(m.Logs))
	var wg sync.WaitGroup
	for i := range m.Logs {
		wg.Go(func() {
			defer crash.Report()
			out[i] = m.round(ctx, &m.Logs[i])
		})
	}
	wg.Wait()
	return out
}

// Run performs a round of every log in each interval until the context ends.
// Each log has its own loop, so that none waits for another. The loop of a log
// calls observe with each of its rounds.
func (m *Monitor) Run(ctx context.Context, interval time.Duration, observe func(*Round)) {
	var wg sync.WaitGroup
	for i := range m.Logs {
		wg.Go(func() {
			defer crash.Report()
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for {
				r := m.round(ctx, &m.Logs[i])
				if ctx.Err() == nil || !errors.Is(r.Err, context.Canceled) {
					observe(&r)
				}
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	wg.Wait()
}

// round performs a round of a log. It saves the findings before it delivers
// them, so that none is lost. One can be delivered twice.
func (m *Monitor) round(ctx context.Context, l *Log) Round {
	r := Round{Log: l.Name, Origin: l.Policy.Origin()}
	st, err := loadState(m.Dir, l.Name)
	if err != nil {
		r.Err = err
		return r
	}
	v := &visit{log: l, state: st, now: m.Now(), round: &r}
	r.Err = v.look(ctx)
	if ctx.Err() != nil && r.Err != nil {
		return r // the monitor was stopped
	}
	v.now = m.Now()
	v.stalled()
	recovered := v.unread()
	r.Standing = v.alerts.list(v)
	r.Size = st.Audit.Size()
	r.Found, r.Dropped = st.merge(append(recovered, r.Standing...))
	// If the state cannot be saved, alerts are delivered in every round. That
	// is better than never.
	err = st.save(m.Dir, l.Name)
	if r.Err = errors.Join(r.Err, err); m.Deliver == nil {
		return r
	}
	delivered, err := m.deliver(ctx, st)
	if r.Err = errors.Join(r.Err, err); delivered > 0 {
		r.Delivered = delivered
		r.Err = errors.Join(r.Err, st.save(m.Dir, l.Name))
	}
	return r
}

// deliver sends the undelivered alerts, the most severe first. After a failure
// the next round continues.
func (m *Monitor) deliver(ctx context.Context, st *state) (delivered int, err error) {
	ctx, cancel := context.WithTimeout(ctx, deliveryTime)
	defer cancel()
	for _, a := range st.undelivered() {
		if err := m.Deliver(ctx, a); err != nil {
			return delivered, fmt.Errorf("webhook: %w; the next round retries it", err)
		}
		a.Delivered = true
		delivered++
	}
	return delivered, nil
}

// look performs a visit within the log's deadline.
func (v *visit) look(ctx context.Context) error {
	if v.log.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, v.log.Timeout, fmt.Errorf("not read within %s", v.log.Timeout))
		defer cancel()
	}
	if v.state.Read.IsZero() { // the time of the first attempt
		v.state.Read = v.now
	}
	err := v.audit(ctx)
	if err == nil && v.log.Entries != nil {
		err = v.entries(ctx)
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	v.read = v.read && err == nil
	return err
}

// unread raises an alert if the log could not be read for too long. If it can
// be read again, unread returns a notice.
func (v *visit) unread() (recovered []Alert) {
	l, st := v.log, v.state
	if v.read {
		if st.Unread {
			a := Alert{Kind: Recovered, Message: fmt.Sprintf("log %s can be read again, after being unreadable since %s", l.Name, st.Read.UTC().Format(time.RFC3339)), Key: fmt.Sprintf("%s %d", Recovered, v.now.UnixNano())}
			recovered = []Alert{v.stamp(a)}
		}
		st.Read, st.Unread = v.now, false
		return recovered
	}
	if since := v.now.Sub(st.Read); l.Unread > 0 && since > l.Unread {
		st.Unread = true
		reason := ""
		if v.round.Err != nil {
			reason = ": " + v.round.Err.Error()
		}
		v.alert(Alert{Kind: Unread, Message: fmt.Sprintf("log %s could not be read for %s%s", l.Name, since.Round(time.Second), reason), Key: fmt.Sprintf("%s since %d", Unread, st.Read.UnixNano())})
	}
	return nil
}

// maxOfKind is the largest number of alerts of one kind in a round. A further
// alert contains the number of the rest.
const maxOfKind = 10

// maxAlertText limits each text of an alert that a log controls, in bytes.
const maxAlertText = 2 << 10

// alerts are the alerts of a round, limited by kind.
type alerts struct {
	kept  []Alert
	count map[string]uint64
}

func (v *visit) alert(a Alert) {
	v.alertFor(a.Kind, func() Alert { return a })
}

// alertFor raises an alert. It calls made only if the limit is not reached.
func (v *visit) alertFor(kind string, made func() Alert) {
	if v.alerts.count == nil {
		v.alerts.count = map[string]uint64{}
	}
	if v.alerts.count[kind]++; v.alerts.count[kind] <= maxOfKind {
		v.alerts.kept = append(v.alerts.kept, v.stamp(made()))
	}
}

func (v *visit) stamp(a Alert) Alert {
	a.Log, a.Origin, a.Time = v.log.Name, v.log.Policy.Origin(), v.now.UTC()
	a.Message, a.Matched = cut(a.Message), cut(a.Matched)
	return a.bounded()
}

// list returns the alerts, and one more for each kind above the limit.
func (a *alerts) list(v *visit) []Alert {
	for _, k := range kinds {
		if n := a.count[k.name]; n > maxOfKind {
			more := n - maxOfKind
			a.kept = append(a.kept, v.stamp(Alert{Kind: k.name, More: more, Message: fmt.Sprintf("and %d more", more), Key: fmt.Sprintf("%s and %d more before %d/%d", k.name, more, v.state.Audit.Size(), v.state.NextIndex)}))
		}
	}
	return a.kept
}

func cut(s string) string {
	if len(s) <= maxAlertText {
		return s
	}
	n := maxAlertText
	for n > 0 && s[n]&0xC0 == 0x80 { // do not split a character
		n--
	}
	return s[:n] + "…"
}
