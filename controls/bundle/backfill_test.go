package bundle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/report/reportrig"
	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// backfill records a checkpoint of a column backfill, with its intent and
// outcome, and returns the indexes.
func (w *world) backfill(entity string, job map[string]string) []uint64 {
	leaf := func(index uint64) *munimentv1.EntryReference {
		return &munimentv1.EntryReference{Index: &index, LeafHash: strings.Repeat("1", 64)}
	}
	step := func(phase string) *munimentv1.BackfillStep {
		return &munimentv1.BackfillStep{Entity: entity, Job: &munimentv1.Artifact{Name: entity + ".yaml", Digest: job}, Run: "r1", Step: "checkpoint", Phase: phase, Ts: timestamppb.New(w.rig.Time()), Actor: "conductor", Checkpoint: "50%"}
	}
	score, share, at, ready := 0.96, "50%", w.rig.Time().Format(time.RFC3339), true
	intent := w.rig.Record(kindname.BackfillStep, step("intent"), "token:conductor")
	progress := w.rig.Record(kindname.BackfillCheckpoint, &munimentv1.BackfillCheckpoint{Entity: &entity, Checkpoint: &share, AcaScore: &score, Ts: &at, RollbackReady: &ready}, "token:conductor")
	m := step("outcome")
	m.Result, m.Verdict, m.AcaScore, m.Intent, m.CheckpointEntry, m.Report = "succeeded", "pass", &score, leaf(intent), leaf(progress), &structpb.Struct{}
	return []uint64{intent, progress, w.rig.Record(kindname.BackfillStep, m, "token:conductor")}
}

// TestBackfill creates a bundle about the file of a job. It contains the steps
// of the job, which have the file as their subject, and its checkpoints, which
// have no subject. Those of another job are left out, but for its checkpoints.
func TestBackfill(t *testing.T) {
	w := newWorld(t)
	digest := reportrig.Digest("asset.yaml")
	mine := w.backfill("asset", digest)
	others := w.backfill("order", reportrig.Digest("order.yaml"))
	file, err := w.create(w.source(w.rig.Ledger), &Request{Artifacts: []decide.Artifact{{Subject: evaluate.Subject{Type: "file", Name: "asset.yaml", Digest: digest}}}})
	w.must(err)
	_, all := contentOf(t, file)
	for index, want := range map[uint64]bool{mine[0]: true, mine[1]: true, mine[2]: true, others[0]: false, others[1]: true, others[2]: false} {
		_, payload := all[fmt.Sprintf("evidence/%016d.payload.json", index)]
		_, receipt := all[fmt.Sprintf("evidence/%016d.receipt.json", index)]
		if payload != want || receipt != want {
			t.Errorf("entry %d: payload %t, receipt %t, want %t", index, payload, receipt, want)
		}
	}
	r, err := w.verify(file, true)
	w.must(err)
	if !r.Complete || r.Reports.Problem != "" {
		t.Errorf("complete %t, reports %+v", r.Complete, r.Reports)
	}
	if page := string(all["index.html"]); !strings.Contains(page, "asset.yaml") || !strings.Contains(page, "Backfill checkpoints") {
		t.Error("the page does not show the job and its checkpoints")
	}
}
