package api_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// strict is a control set that nothing satisfies.
func strict(t *testing.T) *munimentv1.ReplayRequest {
	t.Helper()
	const control = `{"id":"NEVER","title":"It is scanned","state":"active","severity":"high","check":{"require":[{"name":"scan","predicateTypes":["https://example.com/scan/*"],"unsigned":true}]},"modes":[{"stage":"deploy","mode":"enforce"}]}`
	set := fmt.Sprintf(`{"version":"2","stages":["deploy"],"controls":[{"id":"NEVER","digest":"sha256:%x"}]}`, sha256.Sum256([]byte(control)))
	return &munimentv1.ReplayRequest{Tenant: "acme", ControlSet: []byte(set), Controls: [][]byte{[]byte(control)}, Since: timestamppb.New(time.Unix(0, 0))}
}

func (g *gateTest) replay(req *munimentv1.ReplayRequest) (last *munimentv1.ReplayResponse, all []*munimentv1.ReplayedDecision, err error) {
	s, err := g.client().Replay(context.Background(), connect.NewRequest(req))
	if err != nil {
		return nil, nil, err
	}
	defer s.Close()
	for s.Receive() {
		last = s.Msg()
		all = append(all, last.Decisions...)
	}
	return last, all, s.Err()
}

func (g *gateTest) affected() (all []*munimentv1.AffectedPass, decided uint64, err error) {
	s, err := g.client().ListAffected(context.Background(), connect.NewRequest(&munimentv1.ListAffectedRequest{Tenant: "acme"}))
	if err != nil {
		return nil, 0, err
	}
	defer s.Close()
	for s.Receive() {
		all, decided = append(all, s.Msg().Passes...), s.Msg().Decided
	}
	return all, decided, s.Err()
}

// TestReplayAndAffected replays recorded decisions with a stricter control set,
// puts it in force, and asks which passes it undoes. Neither records anything.
func TestReplayAndAffected(t *testing.T) {
	ts := newServer(t)
	g := &gateTest{ts, t, acmeToken}
	ts.putControls(t, "1") // 0, 1
	for _, hex := range []string{"a", "b"} {
		statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":%q}}],"predicateType":"https://example.com/p/v1","predicate":{}}`, strings.Repeat(hex, 64))
		if _, err := ts.client(acmeToken).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte(statement)}})); err != nil {
			t.Fatal(err)
		}
	}
	g.want("decisions", "pass @4, pass @5, blocked @6", nil, "a", "b", "c")
	if all, decided, err := g.affected(); err != nil || decided != 2 || len(all) != 0 {
		t.Errorf("affected before: %v, %d, %v", all, decided, err)
	}
	last, all, err := g.replay(strict(t))
	if err != nil || len(all) != 2 || last.Totals.Blocked != 2 || last.Totals.Unchanged != 1 || last.Done != last.Total || last.NextIndex != nil {
		t.Fatalf("replay: %v, %v, %v", last, all, err)
	}
	if d := all[0]; d.Index != 4 || d.Recorded != "pass" || d.Replayed != "blocked" || d.Results[0].Control != "NEVER" || !strings.HasPrefix(d.Results[0].Reason, "missing-evidence") {
		t.Errorf("the first decision: %v", d)
	}
	req := strict(t)
	req.FromIndex = 5
	if _, all, err := g.replay(req); err != nil || len(all) != 1 || all[0].Index != 5 {
		t.Errorf("replay from an index: %v, %v", all, err)
	}
	req.Since = timestamppb.New(time.Now().Add(48 * time.Hour))
	_, _, err = g.replay(req)
	wantCode(t, "since the future", err, connect.CodeOutOfRange, "since")
	req = strict(t)
	req.Controls = nil
	_, _, err = g.replay(req)
	wantCode(t, "a set without its control", err, connect.CodeInvalidArgument, "control_set")

	req = strict(t)
	if _, err := ts.event(acmeToken, "control", "never", string(req.Controls[0])); err != nil { // 7
		t.Fatal(err)
	}
	// 8, so nothing else was recorded
	if _, err := ts.event(acmeToken, "control-set", "stricter", string(req.ControlSet)); err != nil {
		t.Fatal(err)
	}
	passes, decided, err := g.affected()
	if err != nil || decided != 2 || len(passes) != 2 {
		t.Fatalf("affected: %v, %d, %v", passes, decided, err)
	}
	p := passes[0]
	if c := p.Causes[0]; p.Index != 5 || p.Decision != "blocked" || p.Results[0].Control != "NEVER" || c.Change != "control-set" || fmt.Sprint(c.Entries) != "[8]" {
		t.Errorf("the newest affected pass: %v", p)
	}
}
