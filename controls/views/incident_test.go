package views

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

var incidentStart = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// follow returns the incidents of entries, each in a line: its incident, the
// action, and what follows it. "1i a" is the intent of step 1, "1+ a", "1- a"
// and "1~ a" its outcomes succeeded, failed and skipped. "2i -a" is the intent
// of an undo of a. An action in capitals lapses. Other words are notes, which
// "kim" has submitted, or the executor.
func follow(entries string) *incidents {
	x := newIncidents()
	x.all, x.quarantined = map[string]*incident{}, map[string]*incidentNote{}
	for i, line := range strings.Split(strings.TrimSpace(entries), "\n") {
		x.add(entryOf(uint64(i), strings.Fields(line)))
	}
	return x
}

func entryOf(index uint64, words []string) *ledger.Entry {
	when := incidentStart.Add(time.Duration(index) * time.Second)
	playbook, _, _ := strings.Cut(words[0], "/")
	a := map[string]string{"incident": words[0], "playbook": playbook, "action": words[1], "result": "succeeded", "started": when.Format(time.RFC3339)}
	e := at(index, when, a)
	e.Header.Submitter = "token:conductor"
	last := words[len(words)-1]
	if last == "kim" {
		e.Header.Submitter = "oidc:https://id.example#kim"
	}
	results := map[byte]string{'+': "succeeded", '-': "failed", '~': "skipped"}
	number, sign := words[1][:len(words[1])-1], words[1][len(words[1])-1]
	switch {
	case sign == 'i' && len(words) > 2:
		a["phase"], a["step"], a["result"] = "intent", number, ""
	case results[sign] != "":
		a["phase"], a["step"], a["result"], a["finished"] = "outcome", number, results[sign], when.Format(time.RFC3339)
	default:
		return e
	}
	action, isUndo := strings.CutPrefix(words[2], "-")
	a["action"], a["undo"] = action, restoreAction
	switch {
	case isUndo:
		a["action"], a["undo"] = restoreAction, action
	case action == strings.ToUpper(action):
		delete(a, "undo")
	}
	return e
}

// TestIncidentStates checks the state of an incident after its entries, and the
// counts of its steps.
func TestIncidentStates(t *testing.T) {
	for name, test := range map[string]struct{ entries, want string }{
		"intent":                    {"p/1 1i a", "acting: 1 steps"},
		"outcome":                   {"p/1 1i a\np/1 1+ a", "settling: 1 steps, 1 done"},
		"next step":                 {"p/1 1i a\np/1 1+ a\np/1 2i b", "acting: 2 steps, 1 done"},
		"undo begins":               {"p/1 1i a\np/1 1+ a\np/1 2i -a", "undoing: 1 steps, 1 done"},
		"undone":                    {"p/1 1i a\np/1 1+ a\np/1 2i -a\np/1 2+ -a", "closed: 1 steps, 1 done, 1 undone"},
		"first of two undone":       {"p/1 1i a\np/1 1+ a\np/1 2i b\np/1 2+ b\np/1 3i -b\np/1 3+ -b", "undoing: 2 steps, 2 done, 1 undone"},
		"same action twice":         {"p/1 1i a\np/1 1+ a\np/1 2i a\np/1 2+ a\np/1 3i -a\np/1 3+ -a\np/1 4i -a\np/1 4+ -a", "closed: 2 steps, 2 done, 2 undone"},
		"kept":                      {"p/1 1i a\np/1 1+ a\np/1 2i -a\np/1 2~ -a", "closed: 1 steps, 1 done, 1 kept"},
		"undo failed":               {"p/1 1i a\np/1 1+ a\np/1 2i -a\np/1 2- -a", "undoing: 1 steps, 1 done"},
		"undo failed and again":     {"p/1 1i a\np/1 1+ a\np/1 2i -a\np/1 2- -a\np/1 3i -a\np/1 3+ -a", "closed: 1 steps, 1 done, 1 undone"},
		"undo failed and escalated": {"p/1 1i a\np/1 1+ a\np/1 2i -a\np/1 2- -a\np/1 escalate", "escalated: 1 steps, 1 done"},
		"lapses":                    {"p/1 1i A\np/1 1+ A", "closed: 1 steps, 1 done, 1 lapsing"},
		"failed":                    {"p/1 1i a\np/1 1- a", "closed: 1 steps, 1 failed"},
		"skipped":                   {"p/1 1i a\np/1 1~ a", "closed: 1 steps, 1 skipped"},
		"escalated":                 {"p/1 1i a\np/1 1+ a\np/1 escalate", "escalated: 1 steps, 1 done"},
		"escalated before a step":   {"p/1 escalate", "escalated: 0 steps"},
		"escalated and undone":      {"p/1 1i a\np/1 1+ a\np/1 escalate\np/1 2i -a\np/1 2+ -a", "closed: 1 steps, 1 done, 1 undone"},
		"waiting":                   {"p/1 1i a\np/1 1+ a\np/1 request-approval", "waiting: 1 steps, 1 done"},
		"approved":                  {"p/1 request-approval\np/1 approve kim", "waiting: 0 steps"},
		"approved and taken":        {"p/1 request-approval\np/1 approve kim\np/1 1i a", "acting: 1 steps"},
		"rejected":                  {"p/1 request-approval\np/1 reject kim\np/1 escalate", "escalated: 0 steps"},
		"closed":                    {"p/1 1i a\np/1 1+ a\np/1 escalate\np/1 close", "closed: 1 steps, 1 done"},
		"undo requested":            {"p/1 1i a\np/1 1+ a\np/1 undo kim", "undoing: 1 steps, 1 done"},
		"undo requested by a token": {"p/1 1i a\np/1 1+ a\np/1 undo", "settling: 1 steps, 1 done"},
		"misfire":                   {"p/1 1i a\np/1 1+ a\np/1 misfire kim\np/1 quarantine", "undoing: 1 steps, 1 done, misfired, quarantined"},
		"released":                  {"p/1 1i A\np/1 1+ A\np/1 quarantine\np/1 release kim", "closed: 1 steps, 1 done, 1 lapsing, misfired"},
		"released by a token":       {"p/1 1i A\np/1 1+ A\np/1 quarantine\np/1 release", "closed: 1 steps, 1 done, 1 lapsing, misfired, quarantined"},
		"released for another":      {"p/1 1i A\np/1 1+ A\np/1 quarantine\np/2 release kim", "closed: 1 steps, 1 done, 1 lapsing, misfired, quarantined"},
		"whole action":              {"p/1 restart", "closed: 1 steps, 1 done, 1 lapsing"},
	} {
		x := follow(test.entries)
		a := x.assess(x.all["p/1"], nil)
		m := a.message()
		got := fmt.Sprintf("%s: %d steps", m.State, m.StepCount)
		for _, c := range []struct {
			n    uint32
			what string
		}{{m.Succeeded, "done"}, {m.Failed, "failed"}, {m.Skipped, "skipped"}, {m.Undone, "undone"}, {m.Kept, "kept"}, {m.Lapsing, "lapsing"}} {
			if c.n > 0 {
				got += fmt.Sprintf(", %d %s", c.n, c.what)
			}
		}
		for what, is := range map[string]bool{", misfired": m.Misfired && !m.Quarantined, ", misfired, quarantined": m.Misfired && m.Quarantined} {
			if is {
				got += what
			}
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// TestKillSwitch checks that only persons turn the kill switch on and off, and
// that it is no incident.
func TestKillSwitch(t *testing.T) {
	for entries, want := range map[string]bool{"* kill kim": true, "* kill": false, "* kill kim\n* unkill": true, "* kill kim\n* unkill kim": false} {
		x := follow(entries)
		if (x.killed != nil) != want || len(x.all) != 0 {
			t.Errorf("%q: on %t, want %t; %d incidents", entries, x.killed != nil, want, len(x.all))
		}
	}
}

// TestUndoesByIntent checks that the payload of an undo decides which step it
// undoes.
func TestUndoesByIntent(t *testing.T) {
	x := follow("p/1 1i a\np/1 1+ a\np/1 2i a\np/1 2+ a\np/1 3i -a\np/1 3~ -a")
	a := x.assess(x.all["p/1"], map[int]uint64{2: 0})
	if got := fmt.Sprint(a.states, a.undoes, a.undoneBy); got != "[kept confirmed kept] [-1 -1 0] [2 -1 -1]" {
		t.Error(got)
	}
	if a := x.assess(x.all["p/1"], map[int]uint64{2: 77}); a.undoneBy[0] != -1 || a.undoneBy[1] != -1 {
		t.Errorf("an undo of a foreign step undoes one: %v", a.undoneBy)
	}
}

// TestIncidentsAreBounded checks that many incidents, steps and notes take a
// bounded amount of memory, and that the newest are kept.
func TestIncidentsAreBounded(t *testing.T) {
	x := follow("p/0 1i a")
	n := uint64(1)
	add := func(words ...string) {
		x.add(entryOf(n, words))
		n++
	}
	for i := range 3 * maxIncidents {
		add(fmt.Sprint("p/", i), "1i", "a")
		add(fmt.Sprintf("q%d/%d", i, i), "quarantine")
	}
	for range 2 * maxIncidentNotes {
		add("p/1", "escalate")
	}
	for i := range 2 * maxIncidentSteps {
		add("p/1", fmt.Sprint(i+1, "i"), "a")
	}
	kept := 0
	for _, one := range x.all {
		kept += len(one.steps) + len(one.notes)
	}
	if one := x.all["p/1"]; !one.truncated || len(one.steps) != maxIncidentSteps || len(one.notes) != maxIncidentNotes {
		t.Errorf("one incident: %d steps, %d notes, truncated %t", len(one.steps), len(one.notes), one.truncated)
	}
	if len(x.all) > maxIncidents || kept != x.entries || kept > maxIncidentEntries || len(x.quarantined) > maxQuarantined || !x.truncated {
		t.Errorf("%d incidents, %d entries, %d counted, %d quarantines, truncated %t", len(x.all), kept, x.entries, len(x.quarantined), x.truncated)
	}
	if x.all[fmt.Sprint("p/", 3*maxIncidents-1)] == nil || x.all["p/2"] != nil {
		t.Error("other incidents than the newest are kept")
	}
}

// TestIncidentKey checks which identifiers have the form of the specification.
func TestIncidentKey(t *testing.T) {
	for id, want := range map[string]string{
		"P1-surge/016a05057c41-3": "016a05057c41 3", "P1-surge/016a05057c41": " 0", "P1-surge/016A05057C41-3": " 0", "other/016a05057c41-3": " 0", "INC-2041": " 0", "P1-surge/016a05057c41--3": " 0",
	} {
		key, number := keyOf(id, "P1-surge")
		if got := fmt.Sprint(key, " ", number); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

// TestIncidentActions checks who can request what.
func TestIncidentActions(t *testing.T) {
	kim := "oidc:https://id.example#kim"
	for name, test := range map[string]struct {
		entries string
		viewer  Viewer
		want    string
	}{
		"waiting":             {"p/1 request-approval", Viewer{Identity: kim, MayDecide: true}, "approve, reject, kill"},
		"answered":            {"p/1 request-approval\np/1 approve kim", Viewer{Identity: kim, MayDecide: true}, "approve (you have answered already, and the executor has not recorded anything since), reject (you have answered already, and the executor has not recorded anything since), kill"},
		"answered by another": {"p/1 request-approval\np/1 approve kim", Viewer{Identity: kim + "2", MayDecide: true}, "approve, reject, kill"},
		"a token":             {"p/1 request-approval", Viewer{Identity: "token:a", MayDecide: true}, "approve (requests about incidents must be made by a person: sign in with your own account), reject (requests about incidents must be made by a person: sign in with your own account), kill (requests about incidents must be made by a person: sign in with your own account)"},
		"a reader":            {"p/1 1i a\np/1 quarantine", Viewer{Identity: kim}, "undo (requests about incidents require the role approver or admin), release (requests about incidents require the role approver or admin), kill (requests about incidents require the role approver or admin)"},
		"settling":            {"p/1 1i a\np/1 1+ a", Viewer{Identity: kim, MayDecide: true}, "undo, misfire, kill"},
		"closed":              {"p/1 1i A\np/1 1+ A", Viewer{Identity: kim, MayDecide: true}, "misfire, kill"},
		"another's":           {"p/1 1i A\np/1 1+ A\np/2 quarantine", Viewer{Identity: kim, MayDecide: true}, "misfire, kill"},
		"a whole action":      {"p/1 restart", Viewer{Identity: kim, MayDecide: true}, "kill"},
		"killed":              {"p/1 1i a\n* kill kim", Viewer{Identity: kim, MayDecide: true}, "undo, misfire, unkill"},
	} {
		x := follow(test.entries)
		one := x.all["p/1"]
		var notes []*munimentv1.IncidentNote
		for _, n := range one.notes {
			by := "token:conductor"
			if n.byPerson {
				by = kim
			}
			notes = append(notes, &munimentv1.IncidentNote{Index: n.index, Action: n.action, By: test.viewer.person(by)})
		}
		var got []string
		for _, a := range test.viewer.incidentActions(x.assess(one, nil), x.quarantined["p"], x.killed != nil, notes) {
			text := a.Action
			if a.Refusal != "" {
				text += " (" + a.Refusal + ")"
			}
			got = append(got, text)
		}
		if text := strings.Join(got, ", "); text != test.want {
			t.Errorf("%s: %s, want %s", name, text, test.want)
		}
	}
}
