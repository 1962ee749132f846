package bundle

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// notice records an entry about an incident, and returns its index.
func (w *world) notice(incident, action string) uint64 {
	return w.rig.Record(kindname.TriageAction, &munimentv1.TriageAction{
		Incident: incident, Playbook: "T", Action: action, Result: "succeeded", Irreversible: true, Actor: "conductor", Started: timestamppb.New(w.rig.Time()),
	}, "token:conductor")
}

// TestIncident creates a bundle about an incident. It contains the entries of
// the incident and the requests about all incidents, but not those of others.
func TestIncident(t *testing.T) {
	const incident = "T/0123456789ab-1"
	w := newWorld(t)
	want := map[uint64]bool{
		w.notice(incident, "escalate"): true, w.notice("T/0123456789ab-2", "escalate"): false, w.notice("*", "kill"): true, w.notice(incident, "close"): true,
		w.note: false,
	}
	file, err := w.create(w.source(w.rig.Ledger), &Request{Incident: incident})
	w.must(err)
	m, all := contentOf(t, file)
	for index, included := range want {
		_, payload := all[fmt.Sprintf("evidence/%016d.payload.json", index)]
		_, receipt := all[fmt.Sprintf("evidence/%016d.receipt.json", index)]
		if payload != included || receipt != included {
			t.Errorf("entry %d: payload %t, receipt %t, want %t", index, payload, receipt, included)
		}
	}
	if m.Selection.Incident != incident || m.Since != nil || m.Artifacts != nil {
		t.Errorf("manifest: %+v", m.Selection)
	}
	r, err := w.verify(file, true)
	w.must(err)
	if !r.Complete || r.Reports.Problem != "" {
		t.Errorf("complete %t, reports %+v", r.Complete, r.Reports)
	}
	page := string(all["index.html"])
	if !strings.Contains(page, incident) || strings.Contains(page, "T/0123456789ab-2") || strings.Contains(page, "Metric snapshots") {
		t.Error("the page does not show this incident only")
	}
	for _, req := range []*Request{{Incident: "T/0123456789ab-9"}, {Incident: "*x"}, {Incident: incident, Since: w.rig.Time()}, {Incident: incident, Release: "1.7.0"}} {
		if _, err := w.create(w.source(w.rig.Ledger), req); !errors.Is(err, ErrSelection) {
			t.Errorf("%+v: %v", req, err)
		}
	}
}
