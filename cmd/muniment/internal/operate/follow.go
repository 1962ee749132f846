package operate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/store"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// followFlags choose the server that a replica follows.
type followFlags struct {
	Follow              string        `help:"For a replica: URL of the log's server. Its growth is fetched and verified as it is published, and spooled decisions are sent to it." placeholder:"URL" env:"MUNIMENT_FOLLOW"`
	FollowTokenFile     string        `help:"With --follow: file with a token of the replica's tenant. A changed file is read again, as are those of the other flags." placeholder:"FILE" env:"MUNIMENT_FOLLOW_TOKEN_FILE" type:"path"`
	FollowIdentityToken string        `help:"With --follow: file with an OIDC identity token, in place of a token of the ledger." placeholder:"FILE" env:"MUNIMENT_FOLLOW_IDENTITY_TOKEN" type:"path"`
	FollowClientCert    string        `help:"With --follow: client certificate in PEM, in place of a token." placeholder:"FILE" env:"MUNIMENT_FOLLOW_CLIENT_CERT" type:"path"`
	FollowClientKey     string        `help:"With --follow: key of the client certificate, in PEM." placeholder:"FILE" env:"MUNIMENT_FOLLOW_CLIENT_KEY" type:"path"`
	FollowCA            string        `help:"With --follow: certificates of the authorities to verify the server's certificate with, in PEM. Default: the system's." name:"follow-ca" placeholder:"FILE" env:"MUNIMENT_FOLLOW_CA" type:"path"`
	Refresh             time.Duration `help:"With --follow: time between two requests for the log's size. A new entry of the tenant is fetched without waiting for it." default:"5s"`
}

// check returns an error for flags that mean nothing without --follow.
func (f *followFlags) check() error {
	if f.Follow == "" && (f.FollowIdentityToken != "" || slices.ContainsFunc(f.files(), func(path string) bool { return path != "" })) {
		return errors.New("--follow-token-file, --follow-identity-token, --follow-client-cert, --follow-client-key and --follow-ca require --follow")
	}
	return nil
}

const (
	// gather is how long the follower waits after a new entry for more of them.
	gather = 50 * time.Millisecond
	// longestRetry is the longest time between two attempts, unless --refresh
	// is longer.
	longestRetry = 30 * time.Second
)

// A follower keeps a replica up to date with the server of its log.
type follower struct {
	flags    *followFlags
	dir      *datadir.Dir
	log      *slog.Logger
	store    store.Store
	ledger   *ledger.Ledger // nil until the replica has a state
	upstream *connection    // refreshed by the goroutine of run
	spool    *spool.Spool   // nil until it is served
	metrics  *api.Metrics
	wake     chan struct{} // capacity 1; the tenant has a new entry
	failing  string        // the last error, which is logged once
	retries  backoff
	submits  backoff   // of spooled decisions
	submitAt time.Time // not before
	awaited  *sighting // the earliest that the replica lacks entries of; nil: none
	refused  map[string]bool
}

// newFollower returns nil without --follow.
func newFollower(ctx context.Context, f *followFlags, d *datadir.Dir, log *slog.Logger, s store.Store, m *api.Metrics) (*follower, error) {
	if f.Follow == "" {
		return nil, nil
	}
	switch {
	case f.Refresh < 100*time.Millisecond:
		return nil, errors.New("--refresh: must be at least 100ms")
	case len(d.Tenants) != 1:
		return nil, errors.New("--follow: a server sends the evidence of one tenant, but this replica has several: make a replica for each, or import deltas of 'muniment export --data'")
	}
	one := &follower{flags: f, upstream: f.newConnection(d.Tenants[0].Name, log), dir: d, log: log, store: s, metrics: m, wake: make(chan struct{}, 1), refused: map[string]bool{},
		retries: newBackoff(f.Refresh), submits: newBackoff(f.Refresh)}
	if err := one.removeLeftovers(); err != nil {
		return nil, err
	}
	if _, err := one.upstream.refresh(ctx); err != nil {
		return nil, fmt.Errorf("--follow: %w", err)
	}
	return one, nil
}

// begin waits until the replica has a state to serve. An empty replica fetches
// the whole log.
func (f *follower) begin(ctx context.Context) error {
	for {
		_, size, err := ledger.ImportedState(ctx, f.store)
		if err != nil || size > 0 {
			return err
		}
		f.log.Info("the replica is empty: fetching the log", "server", f.flags.Follow)
		_, err = f.upstream.refresh(ctx)
		if err == nil {
			err = f.fetch(ctx, 0)
		}
		if err := f.note(ctx, err); err != nil {
			return err
		}
		if err := f.pause(ctx); err != nil {
			return err
		}
	}
}

// run follows the server until the context ends or the log forks.
func (f *follower) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watching.Go(func() {
		defer crash.Report()
		f.watch(ctx)
	})
	for {
		_, err := f.upstream.refresh(ctx)
		if err == nil {
			err = f.update(ctx)
		}
		if err := f.note(ctx, err); err != nil {
			return err
		}
		if err := f.pause(ctx); err != nil {
			return nil
		}
	}
}

// note logs the outcome of an update. It returns the error if it is useless to
// go on.
func (f *follower) note(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		if f.failing != "" {
			f.log.Info("following the server again", "server", f.flags.Follow)
		}
		f.failing = ""
		f.retries.succeeded()
		f.metrics.ReplicaFollows()
		return nil
	}
	text := followText(err)
	f.metrics.ReplicaFailed(followCause(err), text)
	var fork *ledger.Fork
	switch {
	case errors.As(err, &fork):
		f.log.Error("the server's log has forked: the replica stays as it is, and follows it no longer", "server", f.flags.Follow, "kept", string(fork.Kept), "offered", string(fork.Offered))
		return err
	case errors.Is(err, errSpool): // the replica itself is up to date
		f.retries.succeeded()
	default:
		f.retries.failed(err)
	}
	if text != f.failing {
		f.log.Warn("the replica stays as it is", "server", f.flags.Follow, "err", text, "retry", f.retries.delay.Round(time.Millisecond))
		f.failing = text
	}
	return nil
}

// pause waits for the next attempt. A new entry ends it early, unless the last
// attempt has failed.
func (f *follower) pause(ctx context.Context) error {
	t := time.NewTimer(f.retries.jittered())
	defer t.Stop()
	wake := f.wake
	if f.retries.failures > 0 {
		wake = nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wake:
		t.Reset(min(gather, f.flags.Refresh))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	case <-t.C:
	}
	return nil
}

// errFollowsReplica reports that the server has the log at second hand. What a
// replica lacks, its followers would take for complete.
var errFollowsReplica = errors.New("the server is a replica itself: give the URL of the log's server in --follow")

// A sighting is the size that the log had published at a moment.
type sighting struct {
	size uint64
	at   ledger.Moment
}

// update brings the replica to the server's state. If the policy requires
// cosignatures, that is the newest checkpoint that has them.
func (f *follower) update(ctx context.Context) error {
	seen, published, err := f.published(ctx)
	if err != nil {
		return err
	}
	policy, signed := f.dir.Replica, published
	if policy.RequiresWitness() {
		res, err := f.checkpoint(ctx, true)
		if err != nil {
			return err
		}
		signed = res.Checkpoint
	}
	head, _, err := policy.VerifyCheckpoint(signed)
	if err != nil {
		return fmt.Errorf("the server's checkpoint: %w", err)
	}
	result := "current"
	switch p := f.ledger.Published(); {
	case head.Size < p.Size:
		return fmt.Errorf("the server's log has %d entries, but this replica %d: %w", head.Size, p.Size, errRolledBack)
	case head.Size == p.Size && head.Root != p.Root:
		return ledger.NewFork(p.Checkpoint, signed, errors.New("they have the same size"))
	case head.Size > p.Size:
		if err := f.fetch(ctx, p.Size); err != nil {
			return err
		}
		if p = f.ledger.Published(); p.Size < head.Size {
			return fmt.Errorf("the server sent %d entries, but its checkpoint has %d", p.Size, head.Size)
		}
		result = "imported"
	}
	f.confirm(seen)
	f.metrics.ReplicaUpdate(result)
	return f.submitDue(ctx)
}

// checkpoint returns the server's checkpoint: the published one, or the newest
// with cosignatures.
func (f *follower) checkpoint(ctx context.Context, witnessed bool) (*munimentv1.GetCheckpointResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, stalled)
	defer cancel()
	res, err := f.upstream.current.Load().GetCheckpoint(ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{Witnessed: witnessed}))
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, &stall{after: stalled}
	case err != nil:
		return nil, err
	case res.Msg.Replica:
		return nil, errFollowsReplica
	case res.Msg.Age == nil:
		return nil, errors.New("the server does not report the age of its state: upgrade it")
	}
	return res.Msg, nil
}

// published returns the size that the log has published, and its checkpoint,
// which can wait for cosignatures.
func (f *follower) published(ctx context.Context) (sighting, []byte, error) {
	asked := f.ledger.Moment()
	res, err := f.checkpoint(ctx, false)
	if err != nil {
		return sighting{}, nil, err
	}
	head, err := f.dir.Replica.VerifyUnwitnessed(res.Checkpoint)
	if err != nil {
		return sighting{}, nil, fmt.Errorf("the server's checkpoint: %w", err)
	}
	age := max(0, res.Age.AsDuration())
	return sighting{head.Size, asked.Earlier(age)}, res.Checkpoint, nil
}

// confirm notes up to when the replica is complete. What the log has published
// and the replica lacks, because it waits for cosignatures, is kept in mind: as
// soon as the replica has it, it is complete up to that moment.
func (f *follower) confirm(seen sighting) {
	have := f.ledger.Published().Size
	for _, s := range []*sighting{f.awaited, &seen} {
		if s != nil && s.size <= have {
			f.ledger.Confirm(s.size, s.at)
		}
	}
	if f.awaited != nil && f.awaited.size <= have {
		f.awaited = nil
	}
	if f.awaited == nil && seen.size > have {
		f.awaited = &seen
	}
}

// fetch imports the log's growth since a size.
func (f *follower) fetch(ctx context.Context, since uint64) error {
	file, err := owner.CreateTemp(f.dir.Path, incoming)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := os.Remove(file.Name()); err != nil { // it ends with the process
		return err
	}
	w := &fetched{file: file, follower: f}
	if err := f.upstream.current.Load().Export(ctx, w, since); err != nil {
		return err
	}
	var report *ledger.ImportReport
	if f.ledger == nil {
		report, err = ledger.Import(ctx, f.store, file, w.size, f.dir.Imports())
	} else {
		report, err = f.ledger.Import(ctx, file, w.size, f.dir.Imports())
	}
	if err != nil {
		return err
	}
	f.log.Debug("imported", "from", report.From, "to", report.To, "records", report.Records)
	return datadir.AnchorImport(f.dir.Path)
}

// removeLeftovers removes files of a process that was killed before it had
// removed their names.
func (f *follower) removeLeftovers() error {
	left, err := filepath.Glob(filepath.Join(f.dir.Path, incoming))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// incoming is the pattern of the names of fetched files.
const incoming = "incoming-*.delta"

// A fetched file grows while the disk has room for it. What does not begin like
// a delta is refused at once.
type fetched struct {
	*follower
	file *os.File
	size int64
}

// checkSpace is the number of bytes between two checks of the free space.
const checkSpace = 16 << 20

func (w *fetched) Write(b []byte) (int, error) {
	if n := min(len(b), max(0, len(delta.Preamble)-int(min(w.size, 1<<10)))); n > 0 && string(b[:n]) != delta.Preamble[w.size:int(w.size)+n] {
		return 0, fmt.Errorf("%w: the server does not send a delta", delta.ErrFormat)
	}
	if before := w.size; before == 0 || before/checkSpace != (before+int64(len(b)))/checkSpace {
		free, err := w.store.FreeBytes()
		if err != nil {
			return 0, err
		}
		if free < w.dir.Config.Limits.DiskReserveBytes+checkSpace {
			return 0, fmt.Errorf("%w: %d MiB are free, and %d MiB are reserved: make room", ledger.ErrDiskFull, free>>20, w.dir.Config.Limits.DiskReserveBytes>>20)
		}
	}
	n, err := w.file.Write(b)
	w.size += int64(n)
	return n, err
}

// watch wakes the follower up for each new entry of the tenant.
func (f *follower) watch(ctx context.Context) {
	again := newBackoff(max(f.flags.Refresh, time.Second))
	for ctx.Err() == nil {
		if received := f.watchOnce(ctx, f.upstream.current.Load()); received {
			again.succeeded()
		} else {
			again.failed(nil)
		}
		select {
		case <-ctx.Done():
		case <-time.After(again.jittered()):
		}
	}
}

// watchOnce watches until the server or the connection ends it. It reports
// whether the server has sent something.
func (f *follower) watchOnce(ctx context.Context, u *upstream) (received bool) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(u.ctx, stop)()
	stream, err := u.WatchEntries(ctx, connect.NewRequest(&munimentv1.WatchEntriesRequest{Tenant: u.Tenant, FromIndex: f.ledger.Published().Size}))
	if err != nil {
		return false
	}
	for stream.Receive() {
		received = true
		if stream.Msg().Entry == nil {
			continue
		}
		select {
		case f.wake <- struct{}{}:
		default: // it is awake
		}
	}
	_ = stream.Close() // it is asked again in any case
	return received
}

// submitDue submits decisions, unless the last attempt has failed just now.
func (f *follower) submitDue(ctx context.Context) error {
	if time.Now().Before(f.submitAt) {
		return nil
	}
	if err := f.submit(ctx); err != nil {
		f.submits.failed(err)
		f.submitAt = time.Now().Add(f.submits.jittered())
		return fmt.Errorf("%w: %w", errSpool, err)
	}
	f.submits.succeeded()
	return nil
}

// submit sends spooled decisions to the ledger. Those that it refuses stay in
// the spool, and are not sent again by this process.
func (f *follower) submit(ctx context.Context) error {
	pending, err := f.spool.Pending(f.refused, func(digest string, err error) { f.refuse(digest, err.Error()) })
	if err != nil {
		return err
	}
	return f.spool.Submit(pending, func(documents [][]byte) ([]*munimentv1.SubmittedDecision, error) {
		ctx, cancel := context.WithTimeout(ctx, stalled)
		defer cancel()
		u := f.upstream.current.Load()
		res, err := u.Gate.SubmitDecisions(ctx, connect.NewRequest(&munimentv1.SubmitDecisionsRequest{Tenant: u.Tenant, Decisions: documents}))
		if err != nil {
			return nil, err
		}
		return res.Msg.Results, nil
	}, func(batch []spool.Pending, _ [][]byte, results []*munimentv1.SubmittedDecision) error {
		for i, r := range results {
			if r.Index == nil && r.Result != munimentv1.SubmissionResult_SUBMISSION_RESULT_NOT_YET {
				f.refuse(batch[i].Digest, r.Reason)
			}
		}
		return nil
	})
}

func (f *follower) refuse(digest, reason string) {
	if !f.refused[digest] {
		f.refused[digest] = true
		f.log.Warn("a decision in the spool is not recorded", "decision", digest, "reason", term.Escape(reason))
	}
}
