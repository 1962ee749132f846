package witness_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	fnote "github.com/transparency-dev/formats/note"

	"muniment.dev/muniment/internal/peers/witnessrig"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/witness"
)

// Real witnesses cosign the log, one of them with ML-DSA-44. One is killed and
// restarted in between.
func TestRealWitnesses(t *testing.T) {
	l := newTestLog(t)
	skey, pqKey, err := fnote.GenerateMLDSAKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := fnote.NewMLDSASigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	lite, err := witnessrig.Litewitness(t.TempDir(), "lite.example", l.vkey)
	if err != nil {
		t.Fatal(err)
	}
	defer lite.Close()
	omni, err := witnessrig.Omniwitness(t.TempDir(), "omni.example", false, l.vkey)
	if err != nil {
		t.Fatal(err)
	}
	defer omni.Close()
	// has only the log's post-quantum key
	quantum, err := witnessrig.Omniwitness(t.TempDir(), "quantum.example", true, pqKey)
	if err != nil {
		t.Fatal(err)
	}
	defer quantum.Close()
	both := fmt.Sprintf("witness lite %s %s\nwitness omni %s %s\ngroup g all lite omni\nquorum g\n", lite.VKey, lite.URL, omni.VKey, omni.URL)
	pq := fmt.Sprintf("log %s\nwitness quantum %s %s\nquorum quantum\n", pqKey, quantum.VKey, quantum.URL)
	l.open(t, both, pq)
	c := l.collect(t, signer)
	<-c.Confirmed()
	for _, n := range []int{1, 1, 40} {
		l.grow(t, n)
		if got := l.awaitWitnessed(t); strings.Count(string(got.Checkpoint), "\n— ") != 5 {
			t.Fatalf("not the lines of three witnesses and two of the log:\n%s", got.Checkpoint)
		}
	}
	for i, signers := range []int{3, 2} {
		data, err := l.Receipt(t.Context(), l.stream, 7, ledgerReceiptOptions)
		if err != nil {
			t.Fatal(err)
		}
		s, err := receipt.Verify(data, l.policies[i:i+1], receipt.Options{HeaderOnly: true})
		if err != nil || len(s.Signers) != signers || s.Size != 42 {
			t.Fatalf("policy %d: %v, %+v", i, err, s)
		}
	}

	omni.Stop()
	l.grow(t, 17)
	await(t, "omniwitness is out of reach", func() bool { return errors.Is(c.Status()[1].Last, witness.ErrUnreachable) })
	if w := l.Witnessed(); w.Size != 42 {
		t.Fatalf("witnessed at size %d without omniwitness", w.Size)
	}
	if err := omni.Start(); err != nil {
		t.Fatal(err)
	}
	l.awaitWitnessed(t)

	// All of them recognize an old copy of the log.
	c.Close()
	old := l.store.Restart()
	l.reopen(t, old.Restart(), both, pq)
	c = l.collect(t, signer)
	l.grow(t, 5)
	l.awaitWitnessed(t)
	c.Close()
	closed := old
	for i, text := range []string{both[:strings.Index(both, "witness omni")] + "quorum lite\n", "witness omni " + omni.VKey + " " + omni.URL + "\nquorum omni\n"} {
		closed = closed.Restart()
		l.reopen(t, closed.Restart(), text)
		c := l.collect(t)
		if err := <-c.Contradiction(); !errors.Is(err, witness.ErrAhead) {
			t.Fatalf("witness %d: %v", i, err)
		}
		l.grow(t, 20) // and a fork of it
		c.Close()
		c = l.collect(t)
		if err := <-c.Contradiction(); !errors.Is(err, witness.ErrInconsistent) {
			t.Fatalf("witness %d: %v", i, err)
		}
		c.Close()
	}
}
