package decide

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type findingCmd struct {
	Import   findingImportCmd   `cmd:"" help:"Record findings from a CSV, SARIF or JSON file."`
	Set      findingSetCmd      `cmd:"" help:"Record a new state of a finding."`
	List     findingListCmd     `cmd:"" help:"List findings with their states and deadlines."`
	Show     findingShowCmd     `cmd:"" help:"Show a finding with all reports about it."`
	Burndown findingBurndownCmd `cmd:"" help:"Draw the number of unresolved findings over time."`
}

// A register has the findings of a stream, and the SLAs of the controls in
// force.
type register struct {
	all []*finding.Finding
	sla map[string]map[string]int // days by control and severity
	now time.Time
}

// readFindings reads all findings and the control set in force from the server.
func readFindings(ctx context.Context, client *muniment.Client) (*register, error) {
	r := &register{now: time.Now(), sla: map[string]map[string]int{}}
	all, err := ledgerEntries(ctx, client, kindname.Finding)
	if err != nil {
		return nil, err
	}
	var entries []finding.Entry
	for _, e := range all {
		entries = append(entries, finding.Entry{Index: e.Index, Time: time.UnixMilli(int64(e.Skeleton.Time)).UTC(), Header: e.Header})
	}
	if r.all, err = finding.Read(entries); err != nil {
		return nil, err
	}
	set, err := controlSet(ctx, client)
	if err != nil {
		return nil, err
	}
	for _, c := range set.GetControls() {
		r.sla[c.Id] = slaOf(c)
	}
	return r, nil
}

// openFindings returns a client with the flags, and what readFindings reads.
func openFindings(a *term.App, f *remote.Flags) (*muniment.Client, *register, error) {
	client, err := f.Client(nil, nil)
	if err != nil {
		return nil, nil, err
	}
	r, err := readFindings(a.Ctx, client)
	return client, r, err
}

// slaOf returns the days that a control allows, by severity.
func slaOf(c *munimentv1.Control) map[string]int {
	days := map[string]int{}
	sla := c.GetSlaDays()
	if sla == nil {
		return days
	}
	for severity, limit := range map[string]*uint32{"critical": sla.Critical, "high": sla.High, "medium": sla.Medium, "low": sla.Low} {
		if limit != nil {
			days[severity] = int(*limit)
		}
	}
	return days
}

func (r *register) days(control, severity string) (int, bool) {
	days, ok := r.sla[control][severity]
	return days, ok
}

// find returns the one finding with the ID and, if subject is not empty, about
// the subject.
func (r *register) find(id, subject string) (*finding.Finding, error) {
	var found []*finding.Finding
	for _, f := range r.all {
		if strings.EqualFold(f.ID, id) && (subject == "" || slices.ContainsFunc(f.Subjects, func(s entry.Subject) bool { return strings.Contains(answer.DigestText(s.Digest), subject) })) {
			found = append(found, f)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no finding %q: see muniment finding list", id)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%d findings have the ID %s: choose one with --subject", len(found), id)
}

// A findingRow is a finding as the commands print it.
type findingRow struct {
	ID       string          `json:"id"`
	Title    string          `json:"title"`
	Severity string          `json:"severity"`
	Status   string          `json:"status"`
	Resolved bool            `json:"resolved"`
	Source   string          `json:"source"`
	Controls []string        `json:"controls,omitempty"`
	Subjects []string        `json:"subjects,omitempty"`
	Detected string          `json:"detected"`
	Due      string          `json:"due,omitempty"`
	Overdue  bool            `json:"overdue"`
	Evidence []uint64        `json:"evidence,omitempty"`
	Entry    uint64          `json:"entry"`
	Reports  []findingReport `json:"reports,omitempty"`
}

type findingReport struct {
	Entry    uint64   `json:"entry"`
	Accepted bool     `json:"accepted"` // it resolves the finding
	Time     string   `json:"time"`
	Status   string   `json:"status"`
	By       string   `json:"by"`
	Evidence []uint64 `json:"evidence,omitempty"`
	// AcceptedBy has the controls that accept the evidence.
	AcceptedBy []string `json:"acceptedBy,omitempty"`
}

func (r *register) row(f *finding.Finding) *findingRow {
	n := f.Newest()
	row := &findingRow{
		ID: f.ID, Title: f.Title, Severity: n.Severity, Status: string(n.Status), Resolved: f.Resolved(), Source: f.Source, Controls: n.Controls,
		Detected: f.Detected.UTC().Format(term.TimeFormat), Evidence: n.Evidence, Entry: n.Index,
	}
	for _, s := range f.Subjects {
		row.Subjects = append(row.Subjects, strings.TrimSpace(s.Name+" "+answer.DigestText(s.Digest)))
	}
	if due := f.Deadline(r.days); !due.IsZero() {
		row.Due = due.UTC().Format(term.TimeFormat)
		row.Overdue = !f.Resolved() && !due.After(r.now)
	}
	return row
}

// Text implements term.Result.
func (r *findingRow) Text() string {
	text := fmt.Sprintf("%-18s %-8s %-11s %s", term.Quoted(r.ID), r.Severity, r.Status, term.Quoted(r.Title))
	switch {
	case r.Overdue:
		text += "  OVERDUE since " + r.Due[:len(time.DateOnly)]
	case r.Due != "" && !r.Resolved:
		text += "  due " + r.Due[:len(time.DateOnly)]
	}
	return text + "\n"
}

type findingListCmd struct {
	remote.Flags
	Status   string `help:"Only findings in this state. Unresolved: all but resolved ones." enum:",unresolved,open,in-progress,resolved,reopened" default:"" placeholder:"STATE"`
	Severity string `help:"Only findings of this severity." enum:",critical,high,medium,low,info,unknown" default:"" placeholder:"SEVERITY"`
	Control  string `help:"Only findings about this control." placeholder:"ID"`
	Overdue  bool   `help:"Only findings that are past their deadline. Exit code 1 if there are any."`
	term.ResultFlags
}

func (findingListCmd) Help() string {
	return `Exit code: 0 listed; 1 with --overdue, some findings are past their deadline; 2 no answer.

Examples:
  muniment finding list --status unresolved
  muniment finding list --overdue --json`
}

func (c *findingListCmd) Run(a *term.App) error {
	_, r, err := openFindings(a, &c.Flags)
	if err != nil {
		return err
	}
	var rows []*findingRow
	for _, f := range r.all {
		row := r.row(f)
		switch {
		case c.Status == "unresolved" && f.Resolved(), c.Status != "" && c.Status != "unresolved" && row.Status != c.Status:
		case c.Severity != "" && row.Severity != c.Severity, c.Overdue && !row.Overdue, c.Control != "" && !slices.Contains(row.Controls, c.Control):
		default:
			rows = append(rows, row)
		}
	}
	if err := term.PrintRows(a, c.ResultFlags, rows, "no findings"); err != nil {
		return err
	}
	if c.Overdue && len(rows) > 0 {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

type findingShowCmd struct {
	ID string `arg:"" help:"ID of the finding."`
	remote.Flags
	Subject string `help:"Digest of its artifact, if several findings have the ID." placeholder:"sha256:…"`
	JSON    bool   `help:"Print one JSON object."`
}

func (findingShowCmd) Help() string {
	return `Exit code: 0 shown; 2 no answer, or no such finding.

Examples:
  muniment finding show AUD-2026-014
  muniment finding show CVE-2026-12345 --subject sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824`
}

func (c *findingShowCmd) Run(a *term.App) error {
	_, r, err := openFindings(a, &c.Flags)
	if err != nil {
		return err
	}
	f, err := r.find(c.ID, c.Subject)
	if err != nil {
		return err
	}
	row := r.row(f)
	for _, report := range f.Reports {
		row.Reports = append(row.Reports, findingReport{report.Index, report.Accepted, report.Time.UTC().Format(term.TimeFormat), string(report.Status), report.By, report.Evidence, report.AcceptedBy})
	}
	if c.JSON {
		return term.WriteJSON(a.Stdout, row)
	}
	p := term.NewPage("%s", strings.TrimSuffix(row.Text(), "\n"))
	p.Line("source", "%s, detected %s", term.Quoted(row.Source), row.Detected)
	for _, s := range row.Subjects {
		p.Line("artifact", "%s", term.Quoted(s))
	}
	for _, id := range row.Controls {
		p.Line("control", "%s", term.Quoted(id))
	}
	for _, report := range row.Reports {
		text := fmt.Sprintf("%s, by %s in entry %d", report.Time, term.Quoted(report.By), report.Entry)
		if len(report.Evidence) > 0 {
			text += ", with " + entriesText(report.Evidence)
		}
		if len(report.AcceptedBy) > 0 {
			text += ", accepted by " + term.Quoted(strings.Join(report.AcceptedBy, ", "))
		}
		p.Line(report.Status, " %s", text)
	}
	_, err = io.WriteString(a.Stdout, p.String())
	return err
}

// entriesText returns a list of entries: entry 7, or entries 7 and 9.
func entriesText(all []uint64) string {
	texts := make([]string, len(all))
	for i, index := range all {
		texts[i] = fmt.Sprint(index)
	}
	if len(texts) == 1 {
		return "entry " + texts[0]
	}
	return "entries " + strings.Join(texts[:len(texts)-1], ", ") + " and " + texts[len(texts)-1]
}

type findingSetCmd struct {
	ID     string `arg:"" help:"ID of the finding."`
	Status string `arg:"" help:"New state: open, in-progress, resolved or reopened." enum:"open,in-progress,resolved,reopened"`
	remote.Flags
	Evidence []uint64 `help:"Index of an entry that shows that the finding is resolved. Required for resolved. May be repeated." placeholder:"INDEX"`
	Subject  string   `help:"Digest of its artifact, if several findings have the ID." placeholder:"sha256:…"`
	Control  []string `help:"Control that the finding is about, in place of those so far. May be repeated." placeholder:"ID"`
	Due      string   `help:"New deadline: a day, a time in RFC 3339, or a duration such as 14d." placeholder:"DAY|TIME|DURATION"`
	term.ResultFlags
}

func (findingSetCmd) Help() string {
	return `Exit code: 0 recorded; 1 refused, for example because the evidence does not satisfy the finding's controls; 2 no answer.

Examples:
  muniment finding set AUD-2026-014 in-progress --due 30d
  muniment finding set AUD-2026-014 resolved --evidence 412
  muniment finding set AUD-2026-014 open --control CHART-SIGNED-V2`
}

// A findingChange is the result of a command that records a finding.
type findingChange struct {
	Finding string `json:"finding"`
	Status  string `json:"status"`
	Entry   uint64 `json:"entry"`
}

// Text implements term.Result.
func (r *findingChange) Text() string {
	return fmt.Sprintf("%s: %s (entry %d)\n", term.Quoted(r.Finding), r.Status, r.Entry)
}

func (c *findingSetCmd) Run(a *term.App) error {
	if c.Status == string(finding.Resolved) && len(c.Evidence) == 0 {
		return errors.New("no evidence specified: a finding is resolved by entries that show it, so add --evidence INDEX")
	}
	client, r, err := openFindings(a, &c.Flags)
	if err != nil {
		return err
	}
	f, err := r.find(c.ID, c.Subject)
	if err != nil {
		return err
	}
	n := f.Newest()
	m := &munimentv1.Finding{
		Id: f.ID, Title: f.Title, Severity: n.Severity, Status: c.Status, Source: f.Source, Detected: timestamppb.New(f.Detected),
		Controls: n.Controls, Aliases: f.Aliases, Evidence: c.Evidence,
	}
	if len(c.Control) > 0 {
		m.Controls = c.Control
	}
	for _, s := range f.Subjects {
		m.Subjects = append(m.Subjects, &munimentv1.Artifact{Name: s.Name, Digest: s.Digest})
	}
	switch {
	case c.Due != "":
		due, err := remote.ParseExpiry(c.Due, time.Now())
		if err != nil {
			return fmt.Errorf("--due: %w", err)
		}
		m.Due = timestamppb.New(due)
	case !n.Due.IsZero():
		m.Due = timestamppb.New(n.Due)
	}
	index, err := appendEvent(a.Ctx, client, kindname.Finding, m)
	if err != nil {
		return err
	}
	return c.Print(a, &findingChange{f.ID, c.Status, index})
}

type findingBurndownCmd struct {
	remote.Flags
	Since   string `help:"First day: a date, or a number of days such as 90d." default:"90d" placeholder:"DAY|DURATION"`
	Control string `help:"Only findings about this control." placeholder:"ID"`
	JSON    bool   `help:"Print one JSON object."`
}

func (findingBurndownCmd) Help() string {
	return `Draws the number of findings that are not resolved, and prints the share of findings that were closed with linked evidence.

Exit code: 0 drawn; 2 no answer.

Examples:
  muniment finding burndown --since 30d
  muniment finding burndown --since 2026-01-01 --json`
}

// A burndown is a series of counts.
type burndown struct {
	Points []burndownPoint `json:"points"`
	// Share of the findings that are resolved with linked evidence, 0 to 1.
	Share float64 `json:"closedWithEvidence"`
}

type burndownPoint struct {
	Day        string `json:"day"`
	Open       int    `json:"open"`
	InProgress int    `json:"inProgress"`
	Resolved   int    `json:"resolved"`
	Overdue    int    `json:"overdue"`
}

func (c *findingBurndownCmd) Run(a *term.App) error {
	since, err := sinceDay(c.Since, time.Now())
	if err != nil {
		return err
	}
	_, r, err := openFindings(a, &c.Flags)
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(r.all, func(f *finding.Finding) bool {
		return c.Control != "" && !slices.Contains(f.Newest().Controls, c.Control)
	})
	b := newBurndown(all, since, r.now, r.days)
	if c.JSON {
		return term.WriteJSON(a.Stdout, b)
	}
	text := "no findings\n"
	if len(all) > 0 {
		text = b.Text(burndownWidth(a.Stdout.Width()))
	}
	_, err = io.WriteString(a.Stdout, text)
	return err
}

// maxBurndownDays is the longest series of a burndown.
const maxBurndownDays = 3660

// sinceDay returns the first day of a series.
func sinceDay(s string, now time.Time) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, s); err == nil && day.Before(now) && now.Sub(day) <= maxBurndownDays*24*time.Hour {
		return day, nil
	}
	var days int
	if n, err := fmt.Sscanf(s, "%dd", &days); err == nil && n == 1 && fmt.Sprintf("%dd", days) == s && days > 0 && days <= maxBurndownDays {
		return now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -days), nil
	}
	return time.Time{}, fmt.Errorf("--since: %q is neither a day in the past, such as 2026-01-01, nor a number of days, such as 90d, of at most %d", s, maxBurndownDays)
}

// newBurndown counts the findings at the end of each day, and now.
func newBurndown(all []*finding.Finding, since, now time.Time, sla func(string, string) (int, bool)) *burndown {
	b := &burndown{}
	for day := since; !day.After(now); day = day.AddDate(0, 0, 1) {
		at := day.AddDate(0, 0, 1).Add(-time.Millisecond)
		if at.After(now) {
			at = now
		}
		c := finding.CountAt(all, at, sla)
		b.Points = append(b.Points, burndownPoint{day.Format(time.DateOnly), c.Open, c.InProgress, c.Resolved, c.Overdue})
		b.Share = c.Share()
	}
	return b
}

func burndownWidth(terminal int) int {
	if terminal == 0 {
		return 72
	}
	return min(max(terminal-8, 20), 120)
}

// burndownHeight is the number of rows of the drawing.
const burndownHeight = 10

// Text draws the unresolved findings as columns: overdue ones █, others ▒.
func (b *burndown) Text(width int) string {
	columns := b.columns(width)
	most := 1
	for _, p := range columns {
		most = max(most, p.Open+p.InProgress)
	}
	var out strings.Builder
	for row := burndownHeight; row > 0; row-- {
		level := float64(most) * (float64(row) - 0.5) / burndownHeight
		label := ""
		if row == burndownHeight {
			label = fmt.Sprint(most)
		}
		fmt.Fprintf(&out, "%5s │", label)
		var cells strings.Builder
		for _, p := range columns {
			switch {
			case float64(p.Overdue) >= level:
				cells.WriteRune('█')
			case float64(p.Open+p.InProgress) >= level:
				cells.WriteRune('▒')
			default:
				cells.WriteRune(' ')
			}
		}
		out.WriteString(strings.TrimRight(cells.String(), " ") + "\n")
	}
	first, last := b.Points[0], b.Points[len(b.Points)-1]
	fmt.Fprintf(&out, "    0 └%s\n", strings.Repeat("─", len(columns)))
	fmt.Fprintf(&out, "       %s%*s\n", first.Day, max(len(columns)-len(first.Day), len(last.Day)+1), last.Day)
	fmt.Fprintf(&out, "\n%d unresolved (%d open, %d in progress), %d overdue █, %d resolved\n", last.Open+last.InProgress, last.Open, last.InProgress, last.Overdue, last.Resolved)
	fmt.Fprintf(&out, "closed with linked evidence: %.0f %%\n", 100*b.Share)
	return out.String()
}

// columns returns at most width points, evenly spaced, with the last one.
func (b *burndown) columns(width int) []burndownPoint {
	if len(b.Points) <= width {
		return b.Points
	}
	all := make([]burndownPoint, width)
	for i := range all {
		all[i] = b.Points[i*(len(b.Points)-1)/(width-1)]
	}
	return all
}
