package oscal

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/controls/report"
)

// Statuses of risks.
const (
	riskOpen      = "open"
	riskClosed    = "closed"
	riskApproved  = "deviation-approved"
	riskRequested = "deviation-requested"
)

// A riskSet has the risks of a document.
type riskSet struct {
	risks     []Risk
	ofControl map[string][]string // UUIDs by the ID of the control
	sources   []source            // one for each of the risks
}

// A source is what a risk was made from.
type source struct {
	title    string
	severity string
	owners   []string
	due      time.Time
	entry    uint64 // that reports or requests it; meaningless for controls
	control  *report.Control
	finding  *report.Finding
	excepted *report.Exception
}

// risks returns a risk for each control that does not hold, each finding and
// each exception. Without closed, those that are closed are left out.
func (d *document) risks(closed bool) *riskSet {
	set := &riskSet{ofControl: map[string][]string{}}
	add := func(r Risk, s source, controls ...string) {
		if r.Status == riskClosed && !closed {
			return
		}
		for _, id := range controls {
			set.ofControl[id] = append(set.ofControl[id], r.UUID)
		}
		set.risks, set.sources = append(set.risks, r), append(set.sources, s)
	}
	owners := map[string]string{}
	for i := range d.Controls {
		c := &d.Controls[i]
		owners[c.Id] = c.Owner
		if c.Status == report.NotSatisfied || c.Status == report.Undecided {
			r, s := d.controlRisk(c)
			add(r, s, c.Id)
		}
	}
	for i := range d.Findings {
		f := &d.Findings[i]
		r, s := d.findingRisk(f)
		add(r, s, f.Newest().Controls...)
	}
	for i := range d.Exceptions {
		x := &d.Exceptions[i]
		r, s := d.exceptionRisk(x, owners[x.Control])
		add(r, s, x.Control)
	}
	return set
}

func (d *document) controlRisk(c *report.Control) (Risk, source) {
	s := source{title: c.Id + ": " + c.Title, severity: c.Severity, owners: named(c.Owner), control: c}
	r := Risk{UUID: d.uuid("risk", "control", c.Id), Title: Line(s.title), Description: Lines(describeControl(c)), Statement: Lines("Artifacts that do not satisfy the control can be released: " + c.Title), Status: riskOpen, Origins: d.byTool(), Observations: d.refs(citedBy(c))}
	r.Props = []Prop{prop("control", c.Id), prop("status", string(c.Status))}
	d.rate(&r, s.severity, d.byTool()[0])
	d.remediate(&r, "Satisfy the control", &s)
	return r, s
}

func (d *document) findingRisk(f *report.Finding) (Risk, source) {
	n := f.Newest()
	s := source{title: f.ID + ": " + f.Title, severity: f.Severity, owners: f.Owners, due: f.Due, entry: n.Index, finding: f}
	by := Origin{[]Actor{{"party", d.people(f.Reports[0].By)[0]}}}
	r := Risk{UUID: d.findingUUID(f, "risk"), Title: Line(s.title), Description: Lines(f.Title + "\n" + f.Description), Statement: Lines(f.Title), Status: riskOpen, Origins: []Origin{by}, Observations: d.refs([]uint64{n.Index})}
	if f.Resolved() {
		r.Status = riskClosed
	}
	r.Props = []Prop{prop("finding", f.ID), prop("status", string(f.Status)), prop("entry", strconv.FormatUint(n.Index, 10))}
	r.Props = addProp(r.Props, "source", f.Source)
	for _, a := range f.Aliases {
		r.Props = addProp(r.Props, "alias", a)
	}
	if f.Overdue {
		r.Props = append(r.Props, prop("overdue", "true"))
	}
	if !f.Due.IsZero() {
		r.Deadline = DateTime(f.Due)
	}
	d.rate(&r, s.severity, by)
	if !f.Resolved() {
		d.remediate(&r, "Resolve the finding with linked evidence", &s)
	}
	r.Log = d.history(f)
	return r, s
}

// findingUUID returns a UUID of a finding, which its ID and its subjects
// identify.
func (d *document) findingUUID(f *report.Finding, what string) string {
	parts := []string{what, "finding", strings.ToLower(f.ID)}
	for i := range f.Subjects {
		parts = append(parts, digests(f.Subjects[i].Digest)...)
	}
	return d.uuid(parts...)
}

// history returns the reports about a finding.
func (d *document) history(f *report.Finding) *RiskLog {
	log := &RiskLog{}
	for i := range f.Reports {
		p := &f.Reports[i]
		e := d.logEntry(p.Index, p.Time, "Reported as "+string(p.Status), p.By)
		e.Status = riskOpen
		if p.Status == finding.Resolved && p.Accepted {
			e.Status = riskClosed
		}
		log.Entries = append(log.Entries, e)
	}
	return log
}

func (d *document) logEntry(index uint64, at time.Time, title, by string) LogEntry {
	return LogEntry{UUID: d.uuid("log", strconv.FormatUint(index, 10)), Title: Line(title), Start: DateTime(at), Props: []Prop{prop("entry", strconv.FormatUint(index, 10))}, Links: d.links(index), LoggedBy: []LoggedBy{{d.people(by)[0]}}}
}

// statusOf returns the status of the risk that an exception accepts.
// Break-glass without approval is in force, but no one has approved it. It must
// be confirmed after its expiry, too.
func statusOf(s *exception.Status) string {
	switch {
	case s.State == exception.Approved:
		return riskApproved
	case s.State == exception.Requested, s.Unconfirmed:
		return riskRequested
	}
	return riskClosed
}

func (d *document) exceptionRisk(x *report.Exception, owner string) (Risk, source) {
	s := source{title: "Exception " + x.ID + " from " + x.Control, owners: named(owner), due: x.Status.Expires, entry: x.Index, excepted: x}
	if s.due.IsZero() {
		s.due = x.Request.Expires
	}
	for i := range d.Controls {
		if d.Controls[i].Id == x.Control {
			s.severity = d.Controls[i].Severity
		}
	}
	requester := x.Requester
	if requester == "" {
		requester = x.Submitter
	}
	if len(s.owners) == 0 {
		s.owners = []string{requester}
	}
	by := Origin{[]Actor{{"party", d.people(requester)[0]}}}
	r := Risk{UUID: d.uuid("risk", "exception", strconv.FormatUint(x.Index, 10)), Title: Line(s.title), Description: Lines(x.Reason + "\n" + scopeOf(x)), Statement: Lines("Artifacts in the scope of the exception do not satisfy the control " + x.Control), Status: statusOf(&x.Status), Origins: []Origin{by},
		Deadline: DateTime(s.due), Observations: d.refs([]uint64{x.Index})}
	r.Props = []Prop{prop("exception", x.ID), prop("control", x.Control), prop("state", string(x.State)), prop("expires", DateTime(s.due)), prop("requester", requester), prop("entry", strconv.FormatUint(x.Index, 10))}
	for _, a := range x.Approvers {
		r.Props = append(r.Props, prop("approver", a))
	}
	if x.Unconfirmed {
		r.Props = append(r.Props, prop("unconfirmed", "true"))
	}
	d.rate(&r, s.severity, by)
	if r.Status != riskClosed {
		d.remediate(&r, "Satisfy the control before the exception expires", &s)
	}
	first := d.logEntry(x.Index, x.Request.Time, "Requested", requester)
	first.Status = riskRequested
	r.Log = &RiskLog{Entries: []LogEntry{first}}
	for i := range x.Exception.Decisions {
		one := &x.Exception.Decisions[i]
		r.Log.Entries = append(r.Log.Entries, d.logEntry(one.Index, one.Time, "Decision: "+string(one.Action), one.By))
	}
	return r, s
}

// scopeOf describes the scope of an exception.
func scopeOf(x *report.Exception) string {
	var all []string
	for i := range x.Subjects {
		all = append(all, strings.TrimSpace(x.Subjects[i].Name+" "+strings.Join(digests(x.Subjects[i].Digest), " ")))
	}
	all = append(all, x.Globs...)
	text := "Scope: " + strings.Join(all, ", ") + "."
	if len(x.Environments) > 0 {
		text += "\nEnvironments: " + strings.Join(x.Environments, ", ") + "."
	}
	if len(x.Findings) > 0 {
		text += "\nOnly: " + strings.Join(x.Findings, ", ") + "."
	}
	return text
}

// rate adds the severity of a risk.
func (d *document) rate(r *Risk, severity string, by Origin) {
	if severity == "" {
		return
	}
	r.Props = append(r.Props, prop("severity", severity))
	r.Characterization = []Characterization{{by, []Facet{{"severity", NS, String(severity)}}}}
}

// remediate adds the plan to treat a risk, with its owners and its deadline.
func (d *document) remediate(r *Risk, title string, s *source) {
	one := Response{UUID: uuid(r.UUID, "response"), Lifecycle: "planned", Title: Line(title), Description: Line(title + ": " + s.title)}
	task := Task{UUID: uuid(r.UUID, "task"), Type: "milestone", Title: Line(title)}
	if !s.due.IsZero() {
		task.Timing = &Timing{OnDate{DateTime(s.due)}}
	}
	if people := d.people(s.owners...); len(people) > 0 {
		task.Roles = []ResponsibleRole{{roleOwner, people}}
	}
	one.Tasks = []Task{task}
	r.Remediations = []Response{one}
}

func named(owner string) []string {
	if owner == "" {
		return nil
	}
	return []string{owner}
}

// owner returns the owners of a source in words.
func (s *source) owner() string {
	if len(s.owners) == 0 {
		return "unassigned"
	}
	return strings.Join(s.owners, ", ")
}

// what returns what a source is, for a description.
func (s *source) what() string {
	switch {
	case s.control != nil:
		return fmt.Sprintf("The control %s is %s.", s.control.Id, strings.ReplaceAll(string(s.control.Status), "-", " "))
	case s.finding != nil:
		return fmt.Sprintf("The finding %s is %s.", s.finding.ID, s.finding.Status)
	}
	return fmt.Sprintf("The exception %s is %s.", s.excepted.ID, s.excepted.State)
}

// entries returns the entries of the observations that risks refer to.
func (set *riskSet) entries() map[uint64]bool {
	all := map[uint64]bool{}
	for i := range set.sources {
		s := &set.sources[i]
		if s.control == nil {
			all[s.entry] = true
			continue
		}
		for _, e := range citedBy(s.control) {
			all[e] = true
		}
	}
	return all
}
