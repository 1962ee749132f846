package record_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/internal/peers/link"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A rig is a ledger, and the token of a conductor.
type rig struct {
	*ledgerrig.Server
	t      *testing.T
	admin  *muniment.Client
	id     string // of the token
	token  string
	policy *receipt.TrustPolicy
}

func newRig(t *testing.T) *rig {
	r := &rig{Server: ledgerrig.Start(), t: t}
	t.Cleanup(r.Close)
	var err error
	if r.policy, err = receipt.ParseTrustPolicy("ledger.policy", r.Policy); err != nil {
		t.Fatal(err)
	}
	if r.admin, err = muniment.New(muniment.Options{Server: r.URL, Token: r.Token}); err != nil {
		t.Fatal(err)
	}
	r.issue("conductor")
	return r
}

// issue gives the conductor a token.
func (r *rig) issue(id string) {
	r.t.Helper()
	res, err := r.admin.Admin.IssueToken(r.t.Context(), connect.NewRequest(&munimentv1.IssueTokenRequest{Tenant: "acme", Grant: &munimentv1.Grant{Id: id, Role: munimentv1.Role_ROLE_APPENDER}}))
	if err != nil {
		r.t.Fatal(err)
	}
	r.id, r.token = id, res.Msg.Token
}

// options returns those of a sender with short waits.
func (r *rig) options(o *outbox) record.Options {
	return record.Options{
		Ledger: muniment.Options{Server: r.URL, Token: r.token, Policy: r.policy},
		Outbox: o, Job: job, MaxWait: 10 * time.Millisecond,
	}
}

func (r *rig) sender(o record.Options) *record.Sender {
	r.t.Helper()
	s, err := record.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// patient returns a context that ends with the test's patience.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), soak.Patience)
	t.Cleanup(cancel)
	return ctx
}

// fill puts a checkpoint and some other steps into the outbox.
func fill(t *testing.T, o *outbox) {
	t.Helper()
	must := func(d record.Draft, err error) record.Draft {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	intent := o.put(must(job.Intent(step(record.Start))))
	o.put(must(job.Outcome(record.Outcome{Step: step(record.Start), Result: record.Succeeded, Intent: intent})))
	at := step(record.Checkpoint)
	at.Percent = 50
	intent = o.put(must(job.Intent(at)))
	progress := o.put(must(job.Progress(50, 0.96, noon, true)))
	o.put(must(job.Outcome(record.Outcome{Step: at, Result: record.Succeeded, Intent: intent, Judged: &record.Judged{Score: 0.96, Verdict: "pass", Report: []byte(report), Checkpoint: progress}})))
}

// check verifies that the ledger has each item once and in order, and that the
// references are those of their entries.
func (r *rig) check(o *outbox) {
	r.t.Helper()
	all := o.acknowledged()
	if len(all) != len(o.items) {
		r.t.Fatalf("%d of %d entries are acknowledged", len(all), len(o.items))
	}
	for i, a := range all {
		item := o.items[i]
		key := job.Key(item.Seq)
		s, err := receipt.Verify(a.Receipt, []*receipt.TrustPolicy{r.policy}, receipt.Options{Payload: a.Payload, Kind: &item.Kind})
		if err != nil {
			r.t.Fatalf("entry %d: %v", item.Seq, err)
		}
		if s.Index != a.Index || fmt.Sprintf("%x", s.LeafHash[:]) != a.LeafHash || s.Header.IdempotencyKey != key || s.Header.Submitter != "token:"+r.id {
			r.t.Errorf("entry %d: index %d, key %q, submitter %q", item.Seq, s.Index, s.Header.IdempotencyKey, s.Header.Submitter)
		}
		if i > 0 && a.Index <= all[i-1].Index {
			r.t.Errorf("entry %d has the index %d, after %d", item.Seq, a.Index, all[i-1].Index)
		}
		for name, seq := range map[string]uint64{"intent": item.Intent, "checkpointEntry": item.Checkpoint} {
			if seq == 0 {
				continue
			}
			want := fmt.Sprintf(`%q:{"index":"%d","leafHash":"%s"}`, name, all[seq-1].Index, all[seq-1].LeafHash)
			if !strings.Contains(string(a.Payload), want) {
				r.t.Errorf("entry %d: %s lacks %s", item.Seq, a.Payload, want)
			}
		}
	}
	list, err := r.admin.ListEntries(r.t.Context(), connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: "acme", Filter: &munimentv1.Filter{Submitter: "token:" + r.id}}))
	if err != nil {
		r.t.Fatal(err)
	}
	if len(list.Msg.Entries) != len(all) {
		r.t.Errorf("the ledger has %d entries of the conductor, want %d", len(list.Msg.Entries), len(all))
	}
}

// TestSend sends the entries of a job.
func TestSend(t *testing.T) {
	r, o := newRig(t), newOutbox()
	fill(t, o)
	var attempts []record.Attempt
	options := r.options(o)
	options.Observe = func(a record.Attempt) { attempts = append(attempts, a) }
	s := r.sender(options)
	if n, err := s.Flush(t.Context()); n != 5 || err != nil {
		t.Fatalf("%d sent, %v", n, err)
	}
	if n, err := s.Flush(t.Context()); n != 0 || err != nil {
		t.Errorf("%d sent, %v, from an empty outbox", n, err)
	}
	if len(attempts) != 5 || attempts[4].Index == 0 || attempts[4].Err != nil {
		t.Errorf("attempts: %+v", attempts)
	}
	r.check(o)
}

// TestOutage sends while the ledger is down, and until it is up again.
func TestOutage(t *testing.T) {
	r, o := newRig(t), newOutbox()
	fill(t, o)
	k, err := link.New(strings.TrimPrefix(r.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	k.Cut()
	var failed atomic.Int64
	up := make(chan struct{})
	options := r.options(o)
	options.Ledger.Server = "http://" + k.Address()
	options.Observe = func(a record.Attempt) {
		if a.Err != nil && failed.Add(1) == 3 {
			close(up)
		}
	}
	s := r.sender(options)
	_, err = s.Flush(t.Context())
	if e, ok := errors.AsType[*record.SendError](err); !ok || e.Fault != record.Unreachable || e.Seq != 1 {
		t.Fatalf("%v, want an unreachable ledger", err)
	}
	if s.Err() == nil {
		t.Error("no error is noted")
	}
	ctx, cancel := context.WithCancel(patient(t))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, nil) }()
	<-up
	k.Join()
	if err := s.Await(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s.Err() != nil {
		t.Errorf("noted after success: %v", s.Err())
	}
	r.check(o)

	ended, stop := context.WithCancel(t.Context())
	stop()
	if _, err := s.Flush(ended); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// losing loses the answers of the first calls, which the server has carried
// out.
type losing struct{ calls atomic.Int64 }

func (l *losing) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(req)
	if err == nil && l.calls.Add(1)%2 == 1 {
		res.Body.Close()
		return nil, errors.New("connection reset by peer")
	}
	return res, err
}

// TestLostOutbox checks that entries are sent after the database of the outbox
// was unreachable, and no longer after another process has taken over.
func TestLostOutbox(t *testing.T) {
	r, o := newRig(t), newOutbox()
	fill(t, o)
	o.lost = 3
	options := r.options(o)
	sent := 0
	options.Observe = func(record.Attempt) {
		sent++
		o.mu.Lock()
		defer o.mu.Unlock()
		o.over = fmt.Errorf("next: %w", record.ErrTakenOver)
	}
	if err := r.sender(options).Run(patient(t), nil); !errors.Is(err, record.ErrTakenOver) || sent != 1 {
		t.Errorf("the sender ended with %v after %d entries, want 1", err, sent)
	}
}

// TestLostAnswers loses every other answer of the ledger, and the first receipt
// on its way into the outbox.
func TestLostAnswers(t *testing.T) {
	r, o := newRig(t), newOutbox()
	fill(t, o)
	lost := &losing{}
	options := r.options(o)
	options.Ledger.HTTPClient = &http.Client{Transport: lost}
	o.fails = errors.New("the database is gone")
	s := r.sender(options)
	if err := s.Await(patient(t)); err == nil || !strings.Contains(err.Error(), "the database is gone") {
		t.Errorf("%v, want the error of the outbox", err)
	}
	if err := s.Await(patient(t)); err != nil {
		t.Fatal(err)
	}
	if n := lost.calls.Load(); n < 10 {
		t.Errorf("%d calls for 5 entries", n)
	}
	r.check(o)
}

// TestTwoSenders sends from two processes at the same time, as after a runner
// that was thought dead.
func TestTwoSenders(t *testing.T) {
	r, o := newRig(t), newOutbox()
	for range 4 {
		fill(t, o)
	}
	var senders sync.WaitGroup
	for range 3 {
		s := r.sender(r.options(o))
		senders.Go(func() {
			if err := s.Await(patient(t)); err != nil {
				t.Error(err)
			}
		})
	}
	senders.Wait()
	r.check(o)
}

// TestOtherLog refuses the receipts of a log that the trust policy does not
// name, and those of an entry with other content.
func TestOtherLog(t *testing.T) {
	r, other, o := newRig(t), newRig(t), newOutbox()
	fill(t, o)
	options := r.options(o)
	options.Ledger.Policy = other.policy
	s := r.sender(options)
	for what, send := range map[string]func() error{
		"Flush": func() error { _, err := s.Flush(t.Context()); return err },
		"Await": func() error { return s.Await(patient(t)) },
		"Run":   func() error { return s.Run(patient(t), nil) },
	} {
		if e, ok := errors.AsType[*record.SendError](send()); !ok || e.Fault != record.NotVerified {
			t.Errorf("%s: %v, want a receipt that is not verified", what, e)
		}
	}
	if len(o.acknowledged()) != 0 {
		t.Error("a receipt that does not verify is stored")
	}
	o.sealed[1] = []byte(strings.Replace(string(o.items[0].Payload), "conductor@db1", "mallory", 1))
	_, err := r.sender(r.options(o)).Flush(t.Context())
	if e, ok := errors.AsType[*record.SendError](err); !ok || e.Fault == record.Unreachable {
		t.Errorf("%v, want the refusal of another payload under the same key", err)
	}
	if _, err := record.New(record.Options{Ledger: muniment.Options{Server: r.URL, Token: r.token}, Outbox: o, Job: job}); err == nil {
		t.Error("a sender without a trust policy is made")
	}
}

// TestRevokedToken sends with a token that is revoked, and then with its
// successor.
func TestRevokedToken(t *testing.T) {
	r, o := newRig(t), newOutbox()
	fill(t, o)
	if _, err := r.admin.Admin.RevokeToken(t.Context(), connect.NewRequest(&munimentv1.RevokeTokenRequest{Tenant: "acme", Id: "conductor", Reason: "lost"})); err != nil {
		t.Fatal(err)
	}
	err := r.sender(r.options(o)).Await(patient(t))
	if e, ok := errors.AsType[*record.SendError](err); !ok || e.Fault != record.Refused || !strings.Contains(err.Error(), "check the token") {
		t.Fatalf("%v, want a refusal with its remedy", err)
	}
	r.issue("conductor-2")
	if err := r.sender(r.options(o)).Await(patient(t)); err != nil {
		t.Fatal(err)
	}
	r.check(o)
}

// TestClock sends entries by a runner whose clock is decades off. The ledger's
// time is its own.
func TestClock(t *testing.T) {
	r, o := newRig(t), newOutbox()
	for _, year := range []int{2001, 2071} {
		d, err := job.Intent(record.Step{Name: record.Pause, Time: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)})
		if err != nil {
			t.Fatal(err)
		}
		o.put(d)
	}
	if err := r.sender(r.options(o)).Await(patient(t)); err != nil {
		t.Fatal(err)
	}
	r.check(o)
	for i, a := range o.acknowledged() {
		s, err := receipt.Verify(a.Receipt, []*receipt.TrustPolicy{r.policy}, receipt.Options{Payload: a.Payload})
		if err != nil {
			t.Fatal(err)
		}
		if age := time.Since(time.UnixMilli(int64(s.Time))); age < -soak.Patience || age > soak.Patience {
			t.Errorf("entry %d: the time in the ledger is %v ago", i, age)
		}
	}
}
