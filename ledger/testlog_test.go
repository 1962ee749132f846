package ledger

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

const testOrigin = "ledger.test/log"

// TestMain gives the property tests a seed, so that a run can be repeated;
// -rapid.seed chooses another.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.seed"); f.Value.String() == "0" {
		if err := f.Value.Set("6962"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// A testClock is a clock that a test advances.
type testClock struct {
	mu        sync.Mutex
	wall      time.Time
	monotonic time.Duration
}

func newTestClock() *testClock { return &testClock{wall: time.UnixMilli(1_800_000_000_000)} }

func (c *testClock) Now() (time.Time, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall, c.monotonic
}

// pass advances the clock.
func (c *testClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
	c.monotonic += d
}

// jump moves only the wall clock, like an administrator who sets it.
func (c *testClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

// hooks stop and break the commits of a memstore, and count them.
type hooks struct {
	mu       sync.Mutex
	commits  []int // entries of each
	before   error
	during   error
	armed    bool
	visible  chan struct{} // closed when the stopped commit shows to readers
	released chan struct{}
}

func (h *hooks) install(s *memstore.Store) {
	s.BeforeCommit = func(c *store.Commit) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.before == nil {
			h.commits = append(h.commits, c.Len())
		}
		return h.before
	}
	s.BeforeReturn = func(*store.Commit) error {
		h.mu.Lock()
		armed, visible, released := h.armed, h.visible, h.released
		h.armed = false
		h.mu.Unlock()
		if armed {
			close(visible)
			<-released
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.during
	}
}

// block makes the next commit stop between the moment when it shows and the
// moment when it is durable.
func (h *hooks) block(t *testing.T) (visible <-chan struct{}, release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.armed, h.visible, h.released = true, make(chan struct{}), make(chan struct{})
	var once sync.Once
	released := h.released
	release = func() { once.Do(func() { close(released) }) }
	t.Cleanup(release)
	return h.visible, release
}

func (h *hooks) fail(before, during error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before, h.during = before, during
}

// takeCommits returns the sizes of the commits since the last call.
func (h *hooks) takeCommits() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := fmt.Sprint(h.commits)
	h.commits = nil
	return s
}

// A testTenant has a stream.
type testTenant struct {
	name   string
	stream *Stream
}

func newTestTenant(name string) *testTenant {
	var key entry.StreamKey
	copy(key[:], "the stream key of "+name)
	return &testTenant{name, NewStream(key)}
}

var acme, globex = newTestTenant("acme"), newTestTenant("globex")

// draft makes a draft of evidence; edits change the header before it is
// encoded.
func (tt *testTenant) draft(payload string, edits ...func(*entry.Header)) Draft {
	d := Draft{Stream: tt.stream, Payload: receipt.PayloadOpening{Content: []byte(payload)}}
	d.LinkSalt, d.Opening.Salt, d.Payload.Salt = entry.NewSalts()
	d.Header = &entry.Header{
		Origin: testOrigin, Tenant: tt.name, Kind: "attestation", MediaType: "text/plain", Submitter: "token:" + tt.name,
		Verification: entry.Verification{Result: entry.Unverified},
		Payload:      entry.PayloadRef{Commitment: entry.Commitment(d.Payload.Salt, d.Payload.Content), Size: uint64(len(payload))},
	}
	for _, edit := range edits {
		edit(d.Header)
	}
	var err error
	if d.Opening.Content, err = d.Header.AppendJSON(nil); err != nil {
		panic(err)
	}
	if d.Facts, err = testDerive(context.Background(), d.Header, func() ([]byte, error) { return d.Payload.Content, nil }); err != nil {
		panic(err)
	}
	return d
}

// event makes a draft of an event.
func (tt *testTenant) event(key, payload string) Draft {
	return tt.draft(payload, func(h *entry.Header) { h.Kind, h.IdempotencyKey = "backfill-checkpoint", key })
}

// drafts makes n drafts whose payloads begin with the name.
func (tt *testTenant) drafts(name string, n int) []Draft {
	out := make([]Draft, n)
	for i := range out {
		out[i] = tt.draft(fmt.Sprintf("%s %d", name, i))
	}
	return out
}

// A testLog is a ledger with the parts that a test changes or inspects.
type testLog struct {
	*Ledger
	cfg    Config
	clock  *testClock
	hooks  *hooks          // of the memory store
	store  *memstore.Store // nil if the engine is another
	policy *receipt.TrustPolicy
	logKey string

	mu      sync.Mutex
	fatal   []error
	refused []error
}

// newTestLog opens a new log on a store in memory. A config may be given, of
// which Store, Signer, Fatal, Clock and Observe are replaced.
func newTestLog(t *testing.T, cfg Config) *testLog {
	t.Helper()
	return newTestLogOn(t, cfg, memstore.New())
}

func newTestLogOn(t *testing.T, cfg Config, s store.Store) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	tl := &testLog{clock: newTestClock(), hooks: &hooks{}, logKey: vkey}
	if cfg.Signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	if tl.policy, err = receipt.ParseTrustPolicy("test", []byte(receipt.FormatTrustPolicy(vkey))); err != nil {
		t.Fatal(err)
	}
	cfg.Fatal = func(err error) {
		tl.mu.Lock()
		defer tl.mu.Unlock()
		tl.fatal = append(tl.fatal, err)
	}
	cfg.Observe.Refused = func(err error) {
		tl.mu.Lock()
		defer tl.mu.Unlock()
		tl.refused = append(tl.refused, err)
	}
	cfg.Clock = tl.clock
	cfg.EntryCache = cmp.Or(cfg.EntryCache, 1<<20)
	tl.cfg = cfg
	tl.open(t, s)
	t.Cleanup(func() { tl.Close() })
	return tl
}

func (tl *testLog) open(t *testing.T, s store.Store) {
	t.Helper()
	tl.cfg.Store = s
	tl.store, _ = s.(*memstore.Store)
	if tl.store != nil {
		tl.hooks.install(tl.store)
	}
	var err error
	if tl.Ledger, err = Open(context.Background(), tl.cfg); err != nil {
		t.Fatal(err)
	}
}

// restart closes the ledger and opens it again on the content that the store in
// memory would have after a loss of power.
func (tl *testLog) restart(t *testing.T) {
	t.Helper()
	tl.Close()
	tl.open(t, tl.store.Restart())
}

func (tl *testLog) fatals() []error {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	return append([]error(nil), tl.fatal...)
}

func (tl *testLog) refusals() []error {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	return append([]error(nil), tl.refused...)
}

// mustAppend appends the drafts in one call and checks the receipts.
func (tl *testLog) mustAppend(t testing.TB, drafts ...Draft) []Result {
	t.Helper()
	results, err := tl.Append(context.Background(), drafts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range results {
		if results[i].Err != nil {
			t.Fatalf("draft %d: %v", i, results[i].Err)
		}
		tl.checkReceipt(t, results[i], &drafts[i])
	}
	return results
}

// checkReceipt checks that the receipt of a result verifies and is for the
// draft.
func (tl *testLog) checkReceipt(t testing.TB, r Result, d *Draft) *receipt.Statement {
	t.Helper()
	s, err := receipt.Verify(r.Receipt, []*receipt.TrustPolicy{tl.policy}, receipt.Options{Payload: d.Payload.Content, Tenant: &d.Header.Tenant, Kind: &d.Header.Kind, StreamKey: &d.Stream.Key})
	if err != nil {
		t.Fatalf("entry %d: %v", r.Index, err)
	}
	if s.Index != r.Index {
		t.Fatalf("the result says entry %d, its receipt entry %d", r.Index, s.Index)
	}
	return s
}

// fill appends n entries of acme in large batches.
func (tl *testLog) fill(t testing.TB, name string, n int) {
	t.Helper()
	for i := 0; i < n; i += 1024 {
		if _, err := tl.Append(context.Background(), acme.drafts(fmt.Sprint(name, i), min(1024, n-i))); err != nil {
			t.Fatal(err)
		}
	}
}

// An answer is the result of a call of Append.
type answer struct {
	results []Result
	err     error
}

// appendLater calls Append in a goroutine.
func (tl *testLog) appendLater(drafts ...Draft) <-chan answer {
	c := make(chan answer, 1)
	l := tl.Ledger
	go func() {
		r, err := l.Append(context.Background(), drafts)
		c <- answer{r, err}
	}()
	return c
}

// awaitPending waits until n entries wait in the queue.
func (tl *testLog) awaitPending(t *testing.T, n int) {
	t.Helper()
	await(t, fmt.Sprintf("%d entries are waiting", n), func() bool { return tl.Pending() == n })
}

// await waits until something is so, and fails the test if it never is.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(soak.Patience); !f(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}

// unanswered fails the test if the call has come back.
func unanswered(t *testing.T, what string, c <-chan answer) {
	t.Helper()
	select {
	case a := <-c:
		t.Fatalf("%s was answered before the commit was durable: %+v", what, a)
	default:
	}
}

func wantErr(t testing.TB, what string, err, want error, says ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Fatalf("%s: the error %q does not say %q", what, err, s)
		}
	}
}

// readPayload returns the payload of an entry of the stream.
func readPayload(ctx context.Context, l *Ledger, s *Stream, index uint64) (*receipt.PayloadOpening, error) {
	e, err := l.Entry(ctx, s, index)
	if err != nil {
		return nil, err
	}
	return l.Payload(ctx, e)
}

func openPayload(ctx context.Context, l *Ledger, s *Stream, index uint64) (*PayloadReader, error) {
	e, err := l.Entry(ctx, s, index)
	if err != nil {
		return nil, err
	}
	return l.OpenPayload(ctx, e)
}

func payloadErased(ctx context.Context, l *Ledger, s *Stream, index uint64) (bool, error) {
	e, err := l.Entry(ctx, s, index)
	if err != nil {
		return false, err
	}
	return l.PayloadErased(ctx, e)
}
