package main

import (
	"fmt"
	"strings"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// checkIncidents checks the states of the incidents, and what one of them shows
// a person who can approve its step.
func (s *seeded) checkIncidents() {
	s.Helper()
	list := ask(s, s.portal.ListIncidents, &munimentv1.ListIncidentsRequest{Tenant: tenant})
	var got []string
	for _, x := range list.Incidents {
		got = append(got, fmt.Sprintf("%s %s %d/%d undone %d kept %d misfired %t without %t first %t",
			x.Playbook, x.State, x.Succeeded, x.StepCount, x.Undone, x.Kept, x.Misfired, x.WithoutLedger, x.FirstActionSeconds != nil && *x.FirstActionSeconds < 1))
	}
	want := []string{
		"P1-checkout-latency waiting 1/1 undone 0 kept 0 misfired false without false first true",
		"P2-cache-stampede escalated 2/2 undone 0 kept 0 misfired false without false first true",
		"P1-gateway-5xx-surge closed 1/1 undone 1 kept 0 misfired false without true first true",
		"P2-search-slow closed 2/2 undone 1 kept 0 misfired true without false first true",
		"P1-gateway-5xx-surge closed 2/2 undone 1 kept 1 misfired false without false first true",
		"P2-cache-stampede closed 2/2 undone 2 kept 0 misfired false without false first true",
		"P1-gateway-5xx-surge closed 3/3 undone 3 kept 0 misfired false without false first true",
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		s.Errorf("the incidents:\n%s\nwant\n%s", a, b)
	}
	if len(list.Quarantined) > 0 || list.KillSwitch != nil {
		s.Errorf("quarantined: %v; the kill switch: %v", list.Quarantined, list.KillSwitch)
	}
	if len(list.Incidents) == 0 {
		return
	}
	x := ask(s, s.portal.GetIncident, &munimentv1.GetIncidentRequest{Tenant: tenant, Id: list.Incidents[0].Id}).Incident
	if w := x.Waiting; w.GetPlace() != 2 || w.GetTarget() != "flag/checkout.shedLoad" || !w.GetUntil().AsTime().After(s.now) {
		s.Errorf("what waits for a person: %v", w)
	}
}
