package correlate

import (
	"slices"
	"strings"
	"time"
)

// maxClaims is the number of incidents to which an episode can belong.
const maxClaims = 16

// Claims returns the identifiers of the incidents to which the episode of the
// alert belongs.
func (a *Alert) Claims() []string { return a.claims }

// Claim makes the alert's episode belong to an incident.
func (t *Table) Claim(a *Alert, incident string) {
	if !slices.Contains(a.claims, incident) && len(a.claims) < maxClaims {
		a.claims = append(a.claims, incident)
		t.touch(a)
	}
}

// claimed reports whether an incident keeps the alert from counting: one of
// another type, or any if the alert is an anchor.
func (m *Member) claimed() bool {
	return slices.ContainsFunc(m.claims, func(id string) bool { return m.Anchors() || !strings.HasPrefix(id, m.Match.Type.Name+"/") })
}

// Settled reports whether an alert does not fire, and has not for some time.
func (t *Table) Settled(identity string, since time.Time) bool {
	a := t.alerts[identity]
	return a == nil || !a.Fires() && (len(a.changes) == 0 || !a.changes[len(a.changes)-1].After(since))
}
