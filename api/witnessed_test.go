package api_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A witnessedServer has a log that requires one witness, which the test
// simulates.
type witnessedServer struct {
	*testServer
	witness note.Signer
	policy  *receipt.TrustPolicy
}

func newWitnessedServer(t *testing.T) *witnessedServer {
	t.Helper()
	ws := &witnessedServer{}
	w, err := torchwood.NewCosignatureSigner("witness.example", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	ws.witness = w
	ws.testServer = newServer(t, func(l *ledger.Config, _ *api.Config) {
		l.Quorum = func(signed []byte) error {
			_, _, err := ws.policy.VerifyCheckpoint(signed)
			return err
		}
	})
	if ws.policy, err = receipt.ParseTrustPolicy("witnessed", fmt.Appendf(nil, "log %s\nwitness w %s\nquorum w\n", ws.vkey, w.Verifier())); err != nil {
		t.Fatal(err)
	}
	return ws
}

// cosign plays the witness.
func (ws *witnessedServer) cosign() {
	ws.t.Helper()
	signed := ws.ledger.Published().Checkpoint
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	more, err := note.Sign(&note.Note{Text: string(text) + "\n"}, ws.witness)
	if err != nil {
		ws.t.Fatal(err)
	}
	_, line, _ := bytes.Cut(more, []byte("\n\n"))
	if err := ws.ledger.Cosign(context.Background(), append(bytes.Clone(signed), line...)); err != nil {
		ws.t.Fatal(err)
	}
}

func TestWaitWitnessed(t *testing.T) {
	ctx := context.Background()
	ws := newWitnessedServer(t)
	c := ws.client(acmeToken)
	sub := func(text string) *munimentv1.Submission {
		return &munimentv1.Submission{Kind: "attestation", MediaType: "text/plain", Payload: []byte(text)}
	}
	type result struct {
		receipts [][]byte
		err      error
	}
	done := make(chan result, 2)
	go func() {
		res, err := c.Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: sub("one"), Wait: munimentv1.AppendWait_APPEND_WAIT_WITNESSED}))
		if err != nil {
			done <- result{err: err}
			return
		}
		done <- result{receipts: [][]byte{res.Msg.Appended.Receipt}}
	}()
	go func() {
		res, err := c.AppendBatch(ctx, connect.NewRequest(&munimentv1.AppendBatchRequest{Tenant: "acme", Submissions: []*munimentv1.Submission{sub("two"), sub(""), sub("three")}, Wait: munimentv1.AppendWait_APPEND_WAIT_WITNESSED}))
		if err != nil {
			done <- result{err: err}
			return
		}
		r := result{}
		for i, x := range res.Msg.Results {
			if (x.GetAppended() == nil) != (i == 1) {
				r.err = fmt.Errorf("result %d is %v", i, x)
			}
			if a := x.GetAppended(); a != nil {
				r.receipts = append(r.receipts, a.Receipt)
			}
		}
		done <- r
	}()
	await(t, "three entries are published", func() bool { return ws.ledger.Published().Size == 3 })
	select {
	case r := <-done:
		t.Fatalf("answered before the witness has cosigned: %+v", r)
	default:
	}
	ws.cosign()
	for range 2 {
		r := <-done
		if r.err != nil || len(r.receipts) == 0 {
			t.Fatalf("%+v", r)
		}
		for _, data := range r.receipts {
			s, err := receipt.Verify(data, []*receipt.TrustPolicy{ws.policy}, receipt.Options{HeaderOnly: true, Tenant: new("acme")})
			if err != nil || !s.Witnessed {
				t.Fatalf("%v, %+v", err, s)
			}
		}
	}

	// The served checkpoint stays the witnessed one while the log grows.
	ws.append("acme", "four")
	if a := ws.get("/tlog/checkpoint"); a.status != 200 || !strings.HasPrefix(string(a.body), origin+"\n3\n") || !strings.Contains(string(a.body), "— witness.example ") {
		t.Fatalf("the served checkpoint: %d\n%s", a.status, a.body)
	}
	latest, err := c.GetCheckpoint(ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{}))
	if err != nil || latest.Msg.TreeSize != 4 {
		t.Fatalf("%v, %v", latest, err)
	}
	witnessed, err := c.GetCheckpoint(ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{Witnessed: true}))
	if err != nil || witnessed.Msg.TreeSize != 3 {
		t.Fatalf("%v, %v", witnessed, err)
	}
	_, err = c.GetReceipt(ctx, connect.NewRequest(&munimentv1.GetReceiptRequest{Tenant: "acme", Index: 3, Witnessed: true}))
	wantRetry(t, "a receipt that is not witnessed yet", err, "entry 3 is not witnessed yet; the latest witnessed checkpoint has size 3")
	if _, err = c.GetReceipt(ctx, connect.NewRequest(&munimentv1.GetReceiptRequest{Tenant: "acme", Index: 2, Witnessed: true})); err != nil {
		t.Fatal(err)
	}
	// A server that stops responds to the calls that wait.
	go func() {
		_, err := c.Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: sub("five"), Wait: munimentv1.AppendWait_APPEND_WAIT_WITNESSED}))
		done <- result{err: err}
	}()
	await(t, "five entries are published", func() bool { return ws.ledger.Published().Size == 5 })
	ws.api.Drain()
	wantRetry(t, "an append while the server stops", (<-done).err, "entry 4 is recorded, but not witnessed yet")
}

func wantRetry(t *testing.T, what string, err error, says string) {
	t.Helper()
	var ce *connect.Error
	if !errors.As(err, &ce) || ce.Code() != connect.CodeUnavailable || !strings.Contains(ce.Message(), says) || ce.Meta().Get("Retry-After") != "1" {
		t.Fatalf("%s: %v, want unavailable with a delay, and %q", what, err, says)
	}
}

func TestNotWitnessed(t *testing.T) {
	ctx := context.Background()
	ws := newWitnessedServer(t)
	if a := ws.get("/tlog/checkpoint"); a.status != 503 || !strings.Contains(string(a.body), "no checkpoint has met the quorum") {
		t.Fatalf("the served checkpoint: %d\n%s", a.status, a.body)
	}
	_, err := ws.client(acmeToken).GetCheckpoint(ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{Witnessed: true}))
	wantRetry(t, "a witnessed checkpoint", err, "no checkpoint is witnessed: not witnessed yet")

	// An expired deadline of the caller is not a failure of the log. The client
	// has no deadline here, so the error is always the server's.
	a := ws.do(ws.h1, "POST", munimentv1connect.LedgerServiceAppendProcedure, acmeToken, map[string]string{"Content-Type": "application/json", "Connect-Timeout-Ms": "100"},
		strings.NewReader(`{"tenant":"acme","submission":{"kind":"attestation","mediaType":"text/plain","payload":"b25l"},"wait":"APPEND_WAIT_WITNESSED"}`))
	if code, message, _ := a.connectError(t); code != "deadline_exceeded" {
		t.Errorf("an append whose time is up: %s: %s", code, message)
	}
}

// TestNoQuorum checks that requests for a quorum are refused if the policy
// requires none, and that nothing is recorded.
func TestNoQuorum(t *testing.T) {
	ctx := context.Background()
	ts := newServer(t)
	ts.append("acme", "one")
	c := ts.client(acmeToken)
	sub := &munimentv1.Submission{Kind: "attestation", MediaType: "text/plain", Payload: []byte("two")}
	for what, call := range map[string]func() error{
		"wait": func() error {
			_, err := c.Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: sub, Wait: munimentv1.AppendWait_APPEND_WAIT_WITNESSED}))
			return err
		},
		"wait of a batch": func() error {
			_, err := c.AppendBatch(ctx, connect.NewRequest(&munimentv1.AppendBatchRequest{Tenant: "acme", Submissions: []*munimentv1.Submission{sub}, Wait: munimentv1.AppendWait_APPEND_WAIT_WITNESSED}))
			return err
		},
		"witnessed receipt": func() error {
			_, err := c.GetReceipt(ctx, connect.NewRequest(&munimentv1.GetReceiptRequest{Tenant: "acme", Witnessed: true}))
			return err
		},
		"witnessed checkpoint": func() error {
			_, err := c.GetCheckpoint(ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{Witnessed: true}))
			return err
		},
	} {
		if err := call(); connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "the log's policy requires no cosignature") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := c.Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: sub, Wait: 99}))
	if connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("an unknown wait: %v", err)
	}
	if size := ts.ledger.Published().Size; size != 1 {
		t.Fatalf("the log has %d entries", size)
	}
}

// TestHeld checks that refusals of a held log state the reason.
func TestHeld(t *testing.T) {
	ts := newServer(t)
	ts.append("acme", "one")
	ts.ledger.Hold(fmt.Errorf("%w: nobody has confirmed it", ledger.ErrUnconfirmed))
	_, err := ts.client(acmeToken).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", MediaType: "text/plain", Payload: []byte("two")}}))
	if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "the log's state is not confirmed yet: nobody has confirmed it") {
		t.Fatalf("append: %v", err)
	}
	if a := ts.get("/readyz"); a.status != 503 || !strings.Contains(string(a.body), "nobody has confirmed it") {
		t.Fatalf("readyz: %d %s", a.status, a.body)
	}
	if a := ts.get("/tlog/checkpoint"); a.status != 200 {
		t.Fatalf("reads are refused: %d", a.status)
	}
	ts.ledger.Release()
	ts.append("acme", "two")
}
