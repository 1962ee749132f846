package report

import (
	"cmp"
	"fmt"
	"strings"
)

// eventTable is a table of entries of one kind.
type eventTable struct {
	ID string
	table
	total int
}

// addEvents adds a table for each kind of event, and one of what was erased.
func (v *viewer) addEvents() {
	r := v.Release
	add(v, "checkpoints", "Backfill checkpoints", []string{"Backfill", "Progress", "ACA score", "Rollback", "Time"}, r.Checkpoints, func(c *Checkpoint) row {
		ready := "not ready"
		if c.RollbackReady {
			ready = "ready"
		}
		return row{Class: "idle", Receipt: v.receipt(c.Entry), Cells: []string{c.Entity, c.Checkpoint.Checkpoint, fmt.Sprintf("%.4g", c.ACAScore), ready, at(c.Time).Text}}
	})
	add(v, "analyses", "Tests and canary analyses", []string{"Artifact", "Result", "Checks", "Score", "Failed or warned", "Time"}, r.Analyses, v.analysis)
	add(v, "actions", "Triage actions", []string{"Incident", "Action", "Result", "Actor", "Undo", "Time"}, r.Actions, func(a *Action) row {
		undo := "irreversible"
		if a.Undo != nil {
			undo = a.Undo.Action
		}
		return row{Class: map[string]string{"succeeded": "good", "failed": "bad"}[a.Result], Receipt: v.receipt(a.Entry), Cells: []string{a.Incident, a.Playbook + ": " + a.TriageAction.Action, cmp.Or(a.Result, a.Phase), a.Actor, undo, at(a.Time).Text}}
	})
	add(v, "metrics", "Metric snapshots", []string{"Service", "Window", "Metrics"}, r.Metrics, v.metrics)
	add(v, "reports", "Verification reports", []string{"Verdict", "Reason", "Verifier", "Entry", "Reported by", "Time"}, r.Reports, func(p *VerificationReport) row {
		entry := "–"
		if p.Index != nil {
			entry = fmt.Sprint(*p.Index)
		}
		class := "good"
		if p.Verdict != "verified" {
			class = "bad"
		}
		return row{Class: class, Receipt: v.receipt(p.Entry), Cells: []string{p.Verdict, p.ReasonCode, strings.TrimSpace(p.Verifier + " " + p.Version), entry, p.Submitter, at(p.Time).Text}}
	})
	add(v, "erased", "Erased evidence", []string{"Entry", "Erased", "Reason", "Requested by", "Recorded in"}, r.Erased, func(e *Erased) row {
		return row{Class: "idle", Receipt: v.receipt(e.Entry), Cells: []string{fmt.Sprint(e.Entry), strings.ReplaceAll(e.Scope, "-", " "), e.Reason, e.Actor, fmt.Sprintf("entry %d, %s", e.Erasure, at(e.Time).Text)}}
	})
}

// add adds a table, unless it is empty.
func add[T any](v *viewer, id, title string, columns []string, all []T, rowOf func(*T) row) {
	if len(all) == 0 {
		return
	}
	out := eventTable{ID: id, table: table{Title: title, Columns: columns}, total: len(all)}
	for i := range all {
		if i == maxRows {
			out.More = count(len(all)-i, "older entry") + " in the bundle."
			break
		}
		out.Rows = append(out.Rows, rowOf(&all[i]))
	}
	v.view.Events = append(v.view.Events, out)
}

func (v *viewer) analysis(a *Analysis) row {
	var names []string
	for _, i := range a.Artifacts {
		names = append(names, v.name(i))
	}
	total := len(a.Passed) + len(a.Warned) + len(a.Failed)
	score := "–"
	if total > 0 {
		score = fmt.Sprintf("%.2f", float64(len(a.Passed))/float64(total))
	}
	class := map[string]string{"PASSED": "good", "WARNED": "unclear", "FAILED": "bad"}[a.Result]
	return row{Class: class, Receipt: v.receipt(a.Entry), Cells: []string{some(names, 3), strings.ToLower(a.Result), number(total), score, some(append(append([]string(nil), a.Failed...), a.Warned...), 8), at(a.Time).Text}}
}

func (v *viewer) metrics(m *Metrics) row {
	var all []string
	for _, one := range m.MetricSnapshot.Metrics {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %.6g %s", one.Name, one.GetValue(), one.Unit)))
	}
	window := at(m.Window.GetFrom().AsTime()).Text + " to " + at(m.Window.GetTo().AsTime()).Text
	return row{Class: "idle", Receipt: v.receipt(m.Entry), Cells: []string{m.Service, window, some(all, 12)}}
}
