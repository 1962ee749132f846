package main

import (
	"fmt"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/triage/account"
	"muniment.dev/muniment/conductor/triage/drill"
	"muniment.dev/muniment/internal/term"
)

type listCmd struct {
	Since time.Duration `help:"How far back to read, such as 12h." default:"24h"`
	ledgerFlags
	term.ResultFlags
}

func (listCmd) Help() string {
	return `Prints the incidents of the ledger with their states, the latest first. The receipt of each entry is verified under the trust policy.

Exit code: 0 printed; 1 a receipt does not verify; 2 failed.

Examples:
  conductor triage list --server https://ledger.example --token-file reader.token --policy ledger.policy
  conductor triage list --since 168h --json`
}

// incidentRow is an incident in a list.
type incidentRow struct{ *account.Incident }

// Text implements term.Result.
func (r incidentRow) Text() string {
	done := 0
	for _, s := range r.Steps {
		if s.Undoes == "" {
			done++
		}
	}
	return fmt.Sprintf("%s  %s  %s, %s, %s\n", r.Opened, term.Escape(r.ID), r.State, term.Count(done, "action"), term.Count(r.Verified, "entry"))
}

func (c *listCmd) Run(a *term.App) error {
	if c.Since <= 0 {
		return fmt.Errorf("--since: must be positive")
	}
	r, err := c.reader()
	if err != nil {
		return err
	}
	all, more, err := r.Incidents(a.Ctx, time.Now().Add(-c.Since))
	if err != nil {
		return err
	}
	if more {
		a.Warn(fmt.Sprintf("only the newest %d entries were read: choose a shorter --since", account.MaxEntries))
	}
	var rows []incidentRow
	var faults []string
	for _, i := range all {
		rows, faults = append(rows, incidentRow{i}), append(faults, i.Faults...)
	}
	if err := term.PrintRows(a, c.ResultFlags, rows, "no incidents"); err != nil {
		return err
	}
	return faulty(faults)
}

// faulty returns an error if receipts do not verify.
func faulty(faults []string) error {
	if len(faults) == 0 {
		return nil
	}
	return term.ExitWith(term.ExitNo, fmt.Errorf("%d entries do not verify, the first: %s", len(faults), faults[0]))
}

type showCmd struct {
	Incident string `arg:"" help:"Identifier of the incident."`
	ledgerFlags
	term.ResultFlags
}

func (showCmd) Help() string {
	return `Prints what the entries of an incident state, in the order of the ledger: the steps, the notices of the executor, and the requests of persons. The receipt
of each entry is verified under the trust policy.

Exit code: 0 printed; 1 there is no such incident, or a receipt does not verify; 2 failed.

Examples:
  conductor triage show P1-gateway-5xx-surge/016a05057c41-3 --server https://ledger.example --token-file reader.token --policy ledger.policy
  conductor triage show P1-gateway-5xx-surge/016a05057c41-3 --json`
}

func (c *showCmd) Run(a *term.App) error {
	r, err := c.reader()
	if err != nil {
		return err
	}
	i, err := r.Incident(a.Ctx, c.Incident)
	if err != nil {
		return missing(err)
	}
	if err := c.Print(a, incidentPage{i}); err != nil {
		return err
	}
	return faulty(i.Faults)
}

// incidentPage is the whole incident.
type incidentPage struct{ *account.Incident }

// Text implements term.Result.
func (p incidentPage) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", term.Escape(p.ID), p.State)
	if len(p.Alerts) > 0 {
		fmt.Fprintf(&b, "alerts: %s\n", term.Escape(strings.Join(p.Alerts, ", ")))
	}
	for _, s := range p.Steps {
		result := s.Result
		if result == "" {
			result = "no outcome yet"
		}
		fmt.Fprintf(&b, "\n%d. %s: %s (%s, by %s)\n   %s\n", s.Number, term.Escape(s.Action), term.Escape(result), s.Entry(), term.Escape(s.Submitter), term.Indented(s.Detail))
	}
	for n, note := range p.Notes {
		if n == 0 {
			b.WriteString("\n")
		}
		by := "the executor"
		if note.Person || note.Action == drill.Action {
			by = term.Escape(note.Submitter)
		}
		fmt.Fprintf(&b, "%s  %s by %s (entry %d)%s\n", note.Time, term.Escape(note.Action), by, note.Entry, term.Optional(": ", note.Detail))
	}
	if w := p.Waits; w != nil {
		fmt.Fprintf(&b, "\nStep %d waits for approval until %s: %s on %s\n  conductor triage approve %s --step %d\n", w.Place, term.Escape(w.Until), term.Escape(w.Action), term.Escape(w.Target), term.Escape(p.ID), w.Place)
	}
	fmt.Fprintf(&b, "\n%s verified, %d not\n", term.Count(p.Verified, "entry"), len(p.Faults))
	return b.String()
}
