package witness_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"

	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store/memstore"
	"muniment.dev/muniment/ledger/witness"
)

func TestCosigned(t *testing.T) {
	l := newTestLog(t)
	w := newTestWitness(t, l, "w", false)
	policy := w.line(0) + "quorum w\n"
	l.open(t, policy)
	c := l.collect(t)
	<-c.Confirmed()
	<-c.AllAnswered()
	if got := l.awaitWitnessed(t); got.Size != 0 {
		t.Fatalf("the empty log is witnessed at size %d", got.Size)
	}
	for _, n := range []int{1, 1, 300, 7} {
		l.grow(t, n)
		l.awaitWitnessed(t)
	}
	s := c.Status()[0]
	if s.Name != "w" || s.Size != 309 || s.Last != nil || s.Cosigned < 5 || s.Cosigned > 310 {
		t.Errorf("status %+v", s)
	}
	// It survives a restart without the witness, and is a receipt that anyone
	// can verify.
	w.stop(t)
	c.Close()
	l.reopen(t, l.store.Restart(), policy)
	data, err := l.Receipt(t.Context(), l.stream, 4, ledgerReceiptOptions)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := receipt.Verify(data, l.policies, receipt.Options{HeaderOnly: true}); err != nil || s.Size != 309 || !s.Witnessed {
		t.Fatalf("%v, %+v", err, s)
	}
}

// The log grows while a witness handles a request. The witness is then asked
// for the newest checkpoint, and not for those in between.
func TestBatching(t *testing.T) {
	l := newTestLog(t)
	w := newTestWitness(t, l, "w", false)
	l.open(t, w.line(0)+"quorum w\n")
	l.grow(t, 3)
	gate, waiting := make(chan struct{}), make(chan struct{}, 1)
	real := w.handler
	w.replace(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case waiting <- struct{}{}:
		default:
		}
		<-gate
		real.ServeHTTP(rw, r)
	}))
	c := l.collectWith(t, func(cfg *witness.Config) { cfg.RequestTime = 0 })
	<-waiting
	l.grow(t, 50)
	close(gate)
	l.awaitWitnessed(t)
	asked := w.requests()
	if len(asked) != 2 || !strings.HasPrefix(string(asked[0]), "old 0\n\n"+origin+"\n3\n") || !strings.HasPrefix(string(asked[1]), "old 3\n") || !strings.Contains(string(asked[1]), "\n\n"+origin+"\n53\n") {
		t.Fatalf("the witness was asked %d times:\n%s", len(asked), asked)
	}
	<-c.Confirmed()
}

// A witness that was unreachable gets a consistency proof from its last
// checkpoint.
func TestWitnessComesBack(t *testing.T) {
	l := newTestLog(t)
	w := newTestWitness(t, l, "w", false)
	l.open(t, w.line(0)+"quorum w\n")
	c := l.collect(t)
	l.grow(t, 5)
	l.awaitWitnessed(t)
	w.stop(t)
	l.grow(t, 20)
	await(t, "the witness is out of reach", func() bool { return errors.Is(c.Status()[0].Last, witness.ErrUnreachable) })
	if got := l.Witnessed(); got.Size != 5 {
		t.Fatalf("witnessed at size %d without the witness", got.Size)
	}
	w.start(t)
	l.awaitWitnessed(t)
	if s := c.Status()[0]; s.Failures["unreachable"] == 0 || s.Last != nil {
		t.Errorf("status %+v", s)
	}
}

// Two of three make the quorum, of the same checkpoint each, even while the log
// grows all the time.
func TestQuorum(t *testing.T) {
	l := newTestLog(t)
	a, b, away := newTestWitness(t, l, "a", false), newTestWitness(t, l, "b", false), newTestWitness(t, l, "away", false)
	away.stop(t)
	l.open(t, a.line(0)+b.line(0)+away.line(0)+"group g 2 a b away\nquorum g\n")
	l.collect(t)
	rounds := map[uint64]bool{}
	for range 40 {
		l.grow(t, 3)
		if w := l.Witnessed(); w != nil {
			rounds[w.Size] = true
		}
	}
	got := l.awaitWitnessed(t)
	if n := strings.Count(string(got.Checkpoint), "\n— "); n != 3 {
		t.Errorf("%d signature lines:\n%s", n, got.Checkpoint)
	}
	t.Logf("%d checkpoints were witnessed while the log grew", len(rounds))
	b.stop(t)
	l.grow(t, 1)
	away.start(t)
	l.awaitWitnessed(t)
}

// The log's own ML-DSA-44 key and a witness with both kinds of keys, of which
// one answer has both.
func TestPostQuantum(t *testing.T) {
	l := newTestLog(t)
	skey, vkey, err := fnote.GenerateMLDSAKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := fnote.NewMLDSASigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	w := newTestWitness(t, l, "w", true)
	l.open(t, w.line(0)+"quorum w\n", "log "+vkey+"\n"+w.line(1)+"quorum w\n")
	c := l.collect(t, signer)
	l.grow(t, 3)
	got := l.awaitWitnessed(t)
	if n := strings.Count(string(got.Checkpoint), "\n— "); n != 4 {
		t.Fatalf("%d signature lines, not two of the log and two of the witness:\n%s", n, got.Checkpoint)
	}
	if len(c.Status()) != 1 {
		t.Fatalf("one witness with two keys counts as %d", len(c.Status()))
	}
	for _, asked := range w.requests() {
		if !strings.Contains(string(asked), "\n— "+origin+" ") || strings.Contains(string(asked), "— w.example ") {
			t.Fatalf("the request has the wrong signatures:\n%s", asked)
		}
	}
	for i, p := range l.policies {
		data, err := l.Receipt(t.Context(), l.stream, 0, ledgerReceiptOptions)
		if err != nil {
			t.Fatal(err)
		}
		s, err := receipt.Verify(data, l.policies[i:i+1], receipt.Options{HeaderOnly: true})
		if err != nil || len(s.Signers) != 2 || p.PostQuantum() != (i == 1) {
			t.Fatalf("policy %d: %v, %+v", i, err, s)
		}
	}
}

// With a post-quantum key alone, checkpoints are cosigned by the log itself.
func TestPostQuantumWithoutWitness(t *testing.T) {
	l := newTestLog(t)
	skey, vkey, err := fnote.GenerateMLDSAKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := fnote.NewMLDSASigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	l.open(t, "quorum none\n", "log "+vkey+"\nquorum none\n")
	l.collect(t, signer)
	l.grow(t, 5)
	if got := l.awaitWitnessed(t); got.Size != 5 {
		t.Fatalf("size %d", got.Size)
	}
}

// A server of a log that several servers share is confirmed by a witness that
// has seen more than it submitted, if the store has that as well.
func TestFasterServer(t *testing.T) {
	for name, known := range map[string]bool{"another server was faster": true, "the store is an old copy": false} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			w := newTestWitness(t, l, "w", false)
			policy := w.line(0) + "quorum w\n"
			l.open(t, policy)
			l.grow(t, 3)
			old := l.store.Restart()
			l.reopen(t, old.Restart(), policy)
			l.grow(t, 5)
			c := l.collect(t)
			l.awaitWitnessed(t)
			c.Close()
			l.reopen(t, old.Restart(), policy)
			var asked atomic.Uint64
			collector := l.collectWith(t, func(cfg *witness.Config) {
				cfg.Known = func(_ context.Context, size uint64) bool {
					asked.Store(size)
					return known
				}
			})
			<-collector.AllAnswered()
			select {
			case err := <-collector.Contradiction():
				if known || !errors.Is(err, witness.ErrAhead) {
					t.Errorf("contradiction: %v", err)
				}
			case <-collector.Confirmed():
				if !known {
					t.Error("an old copy is confirmed")
				}
			case <-t.Context().Done():
			}
			if asked.Load() != 8 {
				t.Errorf("the store was asked for %d entries, want 8", asked.Load())
			}
		})
	}
}

// An old copy of the log, and a different history, are recognized before
// anything is appended.
func TestContradiction(t *testing.T) {
	for name, c := range map[string]struct {
		entries int // of the copy that is opened
		foreign bool
		want    error
	}{
		"old copy":       {3, false, witness.ErrAhead},
		"empty copy":     {0, false, witness.ErrAhead},
		"newest copy":    {8, false, nil},
		"fork":           {8, true, witness.ErrInconsistent},
		"longer fork":    {11, true, witness.ErrInconsistent},
		"shorter fork":   {5, true, witness.ErrAhead},
		"missed by some": {12, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			w := newTestWitness(t, l, "w", false)
			policy := w.line(0) + "quorum w\n"
			l.open(t, policy)
			copies := map[int]*memstore.Store{0: memstore.New()}
			for size := 1; size <= 12; size++ {
				l.grow(t, 1)
				if size == 8 {
					c := l.collect(t)
					l.awaitWitnessed(t)
					c.Close()
				}
				copies[size] = l.store.Restart()
				l.reopen(t, copies[size].Restart(), policy)
			}
			if c.foreign {
				copies[c.entries] = memstore.New()
				l.reopen(t, copies[c.entries], policy)
				l.grow(t, c.entries)
			} else {
				l.reopen(t, copies[c.entries].Restart(), policy)
			}
			collector := l.collect(t)
			<-collector.AllAnswered()
			select {
			case err := <-collector.Contradiction():
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), "witness w: ") {
					t.Fatalf("contradiction %v, want %v", err, c.want)
				}
				select {
				case <-collector.Confirmed():
					t.Fatal("a contradicted log is confirmed, too")
				default:
				}
			case <-collector.Confirmed():
				if c.want != nil {
					t.Fatalf("the log is confirmed; want %v", c.want)
				}
			}
		})
	}
}

// If the policy requires no witness, any one that it lists can confirm the log.
func TestConfirmedWithoutQuorum(t *testing.T) {
	l := newTestLog(t)
	a, b := newTestWitness(t, l, "a", false), newTestWitness(t, l, "b", false)
	a.stop(t)
	b.stop(t)
	l.open(t, a.line(0)+b.line(0)+"quorum none\n")
	l.grow(t, 2)
	c := l.collect(t)
	<-c.AllAnswered()
	select {
	case <-c.Confirmed():
		t.Fatal("nobody was there to confirm the log")
	default:
	}
	b.start(t)
	<-c.Confirmed()
}

func TestConfig(t *testing.T) {
	l := newTestLog(t)
	w := newTestWitness(t, l, "w", false)
	other := newTestWitness(t, l, "other", true)
	key := strings.Fields(w.line(0))[2]
	for name, c := range map[string]struct {
		policies []string
		err      string
	}{
		"no URL":               {[]string{"witness w " + key + "\nquorum w\n"}, "add the URLs of these witnesses: w"},
		"no URL, not needed":   {[]string{"witness w " + key + "\n" + other.line(0) + "group g any w other\nquorum g\n"}, ""},
		"URL of another kind":  {[]string{"witness w " + key + " ftp://w.example\nquorum w\n"}, `"ftp://w.example" is not an http or https URL`},
		"name at two URLs":     {[]string{w.line(0) + "quorum none\n", strings.Replace(other.line(0), "witness other", "witness w", 1) + "quorum none\n"}, "another policy uses this name"},
		"above the limits":     {[]string{many(t, 100)}, "the limits are 100 and 258048"},
		"at the limits":        {[]string{many(t, 99)}, ""},
		"one witness, one URL": {[]string{other.line(0) + "quorum none\n", other.line(0) + "quorum other\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var policies []*receipt.TrustPolicy
			for _, text := range c.policies {
				p, err := receipt.ParseTrustPolicy("test", []byte("log "+l.vkey+"\n"+text))
				if err != nil {
					t.Fatal(err)
				}
				policies = append(policies, p)
			}
			_, err := witness.New(witness.Config{Policies: policies})
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
		})
	}
}

// many returns the lines of a policy that needs all of n witnesses.
func many(t *testing.T, n int) string {
	text, group := "", "group g all"
	for i := range n {
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		w, err := torchwood.NewCosignatureSigner(fmt.Sprintf("w%d.example", i), private)
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("witness w%d %s http://127.0.0.1:1/%d\n", i, w.Verifier(), i)
		group += fmt.Sprintf(" w%d", i)
	}
	return text + group + "\nquorum g\n"
}

// A hostile witness's response causes an error that names the witness, and
// nothing else.
func TestHostileWitness(t *testing.T) {
	status := func(code int, headers ...string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			for i := 0; i < len(headers)-1; i += 2 {
				rw.Header().Set(headers[i], headers[i+1])
			}
			rw.WriteHeader(code)
			if len(headers)%2 == 1 {
				fmt.Fprint(rw, headers[len(headers)-1])
			}
		}
	}
	size := []string{"Content-Type", "text/x.tlog.size"}
	conflicts := 0
	for name, c := range map[string]struct {
		answer func(w *testWitness) http.HandlerFunc
		want   error
	}{
		"larger size":             {func(*testWitness) http.HandlerFunc { return status(409, append(size, "1000000\n")...) }, witness.ErrAhead},
		"largest size":            {func(*testWitness) http.HandlerFunc { return status(409, append(size, "9223372036854775807\n")...) }, witness.ErrAhead},
		"size too large":          {func(*testWitness) http.HandlerFunc { return status(409, append(size, "18446744073709551615\n")...) }, witness.ErrAnswer},
		"size that was sent":      {func(*testWitness) http.HandlerFunc { return status(409, append(size, "0\n")...) }, witness.ErrAnswer},
		"negative size":           {func(*testWitness) http.HandlerFunc { return status(409, append(size, "-1\n")...) }, witness.ErrAnswer},
		"size without media type": {func(*testWitness) http.HandlerFunc { return status(409, "1\n") }, witness.ErrAnswer},
		"no size":                 {func(*testWitness) http.HandlerFunc { return status(409) }, witness.ErrAnswer},
		"another size each time": {func(*testWitness) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				conflicts++ // one witness, one request at a time
				rw.Header().Set("Content-Type", "text/x.tlog.size")
				rw.WriteHeader(409)
				fmt.Fprintln(rw, conflicts%2+1)
			}
		}, witness.ErrAnswer},
		"inconsistent":              {func(*testWitness) http.HandlerFunc { return status(422, "no") }, witness.ErrInconsistent},
		"unknown log":               {func(*testWitness) http.HandlerFunc { return status(404) }, witness.ErrUnknownLog},
		"key refused":               {func(*testWitness) http.HandlerFunc { return status(403) }, witness.ErrKeyRefused},
		"bad request":               {func(*testWitness) http.HandlerFunc { return status(400) }, witness.ErrRequest},
		"busy":                      {func(*testWitness) http.HandlerFunc { return status(429) }, witness.ErrUnreachable},
		"broken":                    {func(*testWitness) http.HandlerFunc { return status(500) }, witness.ErrUnreachable},
		"another success":           {func(*testWitness) http.HandlerFunc { return status(204) }, witness.ErrAnswer},
		"redirect":                  {func(w *testWitness) http.HandlerFunc { return status(307, "Location", w.URL) }, witness.ErrAnswer},
		"empty answer":              {func(*testWitness) http.HandlerFunc { return status(200) }, witness.ErrCosignature},
		"garbage":                   {func(*testWitness) http.HandlerFunc { return status(200, "\x00\xff garbage — \n\n") }, witness.ErrCosignature},
		"a note":                    {func(w *testWitness) http.HandlerFunc { return status(200, "x\n\n"+w.sign(t, "log.example", 3)) }, witness.ErrCosignature},
		"line of an unknown key":    {func(*testWitness) http.HandlerFunc { return status(200, "— other.example AAAAAAAAAAA=\n") }, witness.ErrCosignature},
		"cosignature of other log":  {func(w *testWitness) http.HandlerFunc { return status(200, w.sign(t, "other.example", 3)) }, witness.ErrCosignature},
		"cosignature of other size": {func(w *testWitness) http.HandlerFunc { return status(200, w.sign(t, "log.example", 4)) }, witness.ErrCosignature},
		"cosignature of other root": {func(w *testWitness) http.HandlerFunc { return status(200, w.sign(t, "log.example", 3)) }, witness.ErrCosignature},
		"without an end":            {func(*testWitness) http.HandlerFunc { return status(200, "— w.example AAAA") }, witness.ErrCosignature},
		"endless body": {func(*testWitness) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				for line := strings.Repeat("— w.example AAAAAAAAAAA=\n", 1000); r.Context().Err() == nil; {
					if _, err := rw.Write([]byte(line)); err != nil {
						return
					}
				}
			}
		}, witness.ErrAnswer},
		"endless headers": {func(*testWitness) http.HandlerFunc { return status(200, "X", strings.Repeat("x", 1<<20)) }, witness.ErrUnreachable},
		"no answer": {func(*testWitness) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		}, witness.ErrUnreachable},
		"slow body": {func(*testWitness) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				rw.WriteHeader(200)
				rw.(http.Flusher).Flush()
				<-r.Context().Done()
			}
		}, witness.ErrUnreachable},
		"hangs up": {func(*testWitness) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }
		}, witness.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			bad, good := newTestWitness(t, l, "bad", false), newTestWitness(t, l, "good", false)
			l.open(t, bad.line(0)+good.line(0)+"group g any bad good\nquorum g\n")
			l.grow(t, 3)
			bad.replace(c.answer(bad))
			collector := l.collect(t)
			await(t, "the hostile witness has failed", func() bool { return collector.Status()[0].Last != nil })
			if s := collector.Status()[0]; !errors.Is(s.Last, c.want) || s.Cosigned != 0 || s.Size != 0 {
				t.Fatalf("%v, want %v; %+v", s.Last, c.want, s)
			}
			l.grow(t, 4)
			got := l.awaitWitnessed(t)
			if strings.Contains(string(got.Checkpoint), "— bad.example ") {
				t.Fatalf("the checkpoint has a line of the hostile witness:\n%s", got.Checkpoint)
			}
			if l.Published().Size != 7 || l.Ready() != nil {
				t.Fatalf("the log has size %d, ready %v", l.Published().Size, l.Ready())
			}
			bad.replace(bad.w.Handler(anybody)) // and when it comes to its senses, all is well
			l.grow(t, 1)
			await(t, "the witness cosigns", func() bool { return collector.Status()[0].Size == 8 })
		})
	}
}

// sign makes the witness's signature line over a checkpoint with a root of its
// own.
func (w *testWitness) sign(t *testing.T, origin string, size uint64) string {
	signed, err := receipt.Checkpoint{Origin: origin, Size: size}.Sign(w.keys[0].Signer)
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(signed), "\n\n")
	return line
}

// Close returns while a witness does not answer.
func TestClose(t *testing.T) {
	l := newTestLog(t)
	w := newTestWitness(t, l, "w", false)
	asked := make(chan struct{}, 1)
	w.replace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	l.open(t, w.line(0)+"quorum w\n")
	c := l.collectWith(t, func(cfg *witness.Config) { cfg.RequestTime = 0 })
	<-asked
	c.Close()
	if err := l.AwaitWitnessed(ended(t), 0); err == nil {
		t.Fatal("witnessed")
	}
}

func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
