package execute

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"time"
)

// maxAnchors is the number of anchors of an incident that are followed.
const maxAnchors = 1000

// An Observation is the state of an incident's alerts.
type Observation struct {
	Counting int             // signals of the candidate that count
	Anchors  map[string]bool // by identity: whether it is firing
}

// A Misfire is what is known about the effect of a playbook.
type Misfire struct {
	Before   int `json:"before"`   // counting signals before the first action
	Counting int `json:"counting"` // now
	// Anchors are those before the first action, by the hash of the identity.
	Anchors  map[string]bool `json:"anchors,omitempty"`
	Judged   bool            `json:"judged,omitempty"`   // the end of decay has passed
	Misfired bool            `json:"misfired,omitempty"` // the type was quarantined
}

// anchor shortens an identity, which can be long.
func anchor(identity string) string {
	sum := sha256.Sum256([]byte(identity))
	return hex.EncodeToString(sum[:8])
}

// anchors returns the state of anchors by their hashes.
func (o *Observation) anchors() map[string]bool {
	all := map[string]bool{}
	for identity, firing := range o.Anchors {
		if len(all) == maxAnchors {
			break
		}
		all[anchor(identity)] = firing
	}
	return all
}

// Observe reports the state of an incident's alerts. The router calls it when
// they change, from the opening until decay has passed after the first action.
func (e *Executor) Observe(id string, o Observation) error {
	i, err := e.Store.Incident(id)
	if err != nil || i == nil || i.Taken || i.Misfire.Judged || i.Misfire.Misfired {
		return err
	}
	m := &i.Misfire
	first := i.acted()
	rows := map[string]any{rowIncident + id: i}
	switch {
	case first.IsZero():
		anchors := o.anchors()
		if m.Before == o.Counting && maps.Equal(m.Anchors, anchors) {
			return nil
		}
		m.Before, m.Counting, m.Anchors = o.Counting, o.Counting, anchors
		return e.Store.write(rows)
	case e.Now().Before(first.Add(i.Decay)):
		for identity, firing := range o.Anchors {
			if before, known := m.Anchors[anchor(identity)]; firing && known && !before {
				e.misfire(i, "an alert that was resolved before the first action fires again", rows)
				return e.Store.write(rows)
			}
		}
	}
	if m.Counting == o.Counting {
		return nil
	}
	m.Counting = o.Counting
	return e.Store.write(rows)
}

// judge finds out at the end of decay whether a playbook has misfired. It
// reports whether the incident has changed.
func (e *Executor) judge(i *Incident, rows map[string]any) bool {
	m := &i.Misfire
	first := i.acted()
	if m.Judged || m.Misfired || i.Cleared || first.IsZero() || e.Now().Before(first.Add(i.Decay)) {
		return false
	}
	m.Judged = true
	if m.Counting > m.Before {
		e.misfire(i, fmt.Sprintf("%d alerts count at the end of decay, and %d did before the first action", m.Counting, m.Before), rows)
	}
	return true
}

// misfire undoes the steps of an incident and quarantines its type.
func (e *Executor) misfire(i *Incident, reason string, rows map[string]any) {
	if i.Misfire.Misfired {
		return
	}
	i.Misfire.Misfired = true
	e.note(i, Notice{Action: ActionQuarantine, Reason: reason})
	rows[rowQuarantine+i.Type] = &Quarantine{Incident: i.ID, Reason: reason, Since: e.Now()}
	if i.State != Closed {
		i.State, i.Reason, i.Request = Undoing, "misfire: "+reason, nil
	}
}

// A Quarantine stops all steps but undo against a type of incident.
type Quarantine struct {
	Incident string    `json:"incident"` // that misfired
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
}
