package report

import (
	"cmp"
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/safetext"
)

// Bounds of the page. The worst and newest come first.
const (
	maxRows      = 500 // of one table
	maxDetailed  = 100 // artifacts with their evidence
	maxBlocking  = 50  // controls
	maxReasons   = 20  // of one control
	maxEvidences = 40  // entries of one artifact
	maxBars      = 40  // of the timeline
)

// A view is what the template shows.
type view struct {
	Policy string
	Style  template.CSS

	Title     string
	Tenant    string
	Origin    string
	Size      uint64
	Root      string
	Time      moment
	Selection string
	SetDigest string
	Verdict   verdict
	Places    []verdict
	Contents  []link

	Blocking          []*blocking
	Exceptions        *exceptionsView
	Findings          *findingsView
	Coverage          []coverageView
	Unknown           []string // about the coverage
	Stated            []string // of the coverage
	NotKnown          verdict  // marks them
	SetSentence       string
	Frameworks        []*framework
	ArtifactsSentence string
	Artifacts         []*artifactView
	OtherArtifacts    []*artifactView
	Differences       *differencesView
	Events            []eventTable

	Commands []Command
	Trust    []string
	Keys     []string
	Members  []memberView
	Limits   string
}

// A moment is a time for people and machines.
type moment struct{ Text, Machine string }

func at(t time.Time) moment {
	t = t.UTC()
	return moment{t.Format("2 Jan 2006, 15:04 UTC"), t.Format("2006-01-02T15:04:05.999Z")}
}

// A person is a submitter. A person's issuer is shown below the name, which it
// gives its meaning.
type person struct{ Name, Issuer string }

func personOf(submitter string) person {
	if rest, ok := strings.CutPrefix(submitter, "oidc:"); ok {
		if issuer, name, ok := strings.Cut(rest, "#"); ok && name != "" {
			return person{name, issuer}
		}
	}
	return person{Name: submitter}
}

func personsOf(submitters []string) (all []person) {
	for _, s := range submitters {
		all = append(all, personOf(s))
	}
	return all
}

// A link is an entry of the table of contents.
type link struct{ ID, Title, Count string }

// A receipt has the links to what the bundle contains of an entry.
type receipt struct {
	Entry            uint64
	Receipt, Payload string
}

func (v *viewer) receipt(entry uint64) receipt {
	f := v.Files[entry]
	if v.erased[entry] {
		f.Payload = ""
	}
	return receipt{entry, href(f.Receipt), href(f.Payload)}
}

// href returns a relative reference to a file of the bundle, or "".
func href(name string) string {
	if name == "" {
		return ""
	}
	return (&url.URL{Path: name}).String()
}

// A memberView is a further file of the bundle.
type memberView struct{ Href, Name, About string }

// A verdict is an outcome with words.
type verdict struct{ Name, Class, Mark, Word, Sentence string }

// A look is how an outcome or a status is shown.
type look struct{ class, mark, word string }

var looks = map[string]look{
	string(evaluate.Pass):      {"good", "✓", "Pass"},
	string(evaluate.Blocked):   {"bad", "✗", "Blocked"},
	string(evaluate.Undecided): {"unclear", "?", "Undecided"},
	string(NotSatisfied):       {"bad", "✗", "not satisfied"},
	string(Excepted):           {"excepted", "~", "excepted"},
	string(Satisfied):          {"good", "✓", "satisfied"},
	string(NotApplicable):      {"idle", "–", "not applicable"},
}

// A viewer makes the view of a release.
type viewer struct {
	*Release
	view
	outcomes []evaluate.Outcome // the worst of each artifact
	erased   map[uint64]bool    // entries
}

func newView(r *Release) *view {
	v := &viewer{Release: r, erased: map[uint64]bool{}}
	v.view = view{
		Policy: policy, Style: template.CSS(style), Title: r.title(), Tenant: r.Tenant, Origin: r.Log.Origin, Size: r.Log.Size, Root: r.Log.Root, Time: at(r.Time), Selection: r.Selection,
		Commands: r.Commands, Trust: r.Log.Trust, Keys: r.Log.Keys,
	}
	for _, m := range r.Members {
		v.view.Members = append(v.view.Members, memberView{href(m.Name), m.Name, m.About})
	}
	for i := range r.Erased {
		v.erased[r.Erased[i].Entry] = true
	}
	for i := range r.Artifacts {
		v.outcomes = append(v.outcomes, r.Artifacts[i].Outcome())
	}
	v.addVerdict()
	v.addBlocking()
	v.addExceptions()
	v.addFindings()
	v.addCoverage()
	v.addControls()
	v.addArtifacts()
	v.addDifferences()
	v.addEvents()
	v.addContents()
	var left []string
	for _, l := range r.LeftOut {
		left = append(left, fmt.Sprintf("at most %s %s", number(l.Limit), l.What))
	}
	if len(left) > 0 {
		v.Limits = strings.Join(left, ", ") + "."
	}
	return &v.view
}

func (r *Release) title() string {
	switch {
	case r.Name != "":
		return "Release " + r.Name
	case len(r.Artifacts) == 1 && r.Artifacts[0].Name != "":
		return r.Artifacts[0].Name
	case r.Selection != "":
		return sentence(r.Selection)
	}
	return "Evidence"
}

func (v *viewer) addVerdict() {
	worst := v.Release.Verdict()
	look := looks[string(worst)]
	v.view.Verdict = verdict{Class: look.class, Mark: look.mark, Word: look.word}
	switch {
	case len(v.Release.Artifacts) == 0:
		v.view.Verdict.Sentence = "No artifacts are selected, so there is nothing to decide about."
	case len(v.Release.Places) == 0:
		v.view.Verdict.Sentence = "No control set is in force that could be applied, so nothing is decided."
	default:
		v.view.Verdict.Sentence = v.sentence()
	}
	for i, p := range v.Release.Places {
		look := looks[string(v.Outcome(i))]
		v.view.Places = append(v.view.Places, verdict{Name: p.String(), Class: look.class, Mark: look.mark, Word: strings.ToLower(look.word), Sentence: counted(v.at(i))})
	}
}

// sentence counts the artifacts by their outcomes.
func (v *viewer) sentence() string {
	counts, total := map[evaluate.Outcome]int{}, len(v.outcomes)
	for _, o := range v.outcomes {
		counts[o]++
	}
	is := func(n int, what string) string {
		if n == 1 {
			return "1 is " + what
		}
		return number(n) + " are " + what
	}
	if n := counts[evaluate.Pass]; n == total {
		if n == 1 {
			return "The artifact passes every stage at which a control applies to it."
		}
		return fmt.Sprintf("All %s artifacts pass every stage at which a control applies to them.", number(n))
	}
	var parts []string
	if n := counts[evaluate.Blocked]; n > 0 {
		parts = append(parts, is(n, "blocked"))
	}
	if n := counts[evaluate.Undecided]; n > 0 {
		parts = append(parts, is(n, "undecided"))
	}
	if n := counts[evaluate.Pass]; n > 0 {
		parts = append(parts, fmt.Sprintf("%s pass", number(n)))
		if n == 1 {
			parts[len(parts)-1] = "1 passes"
		}
	}
	return fmt.Sprintf("Of %s, %s.", count(total, "artifact"), strings.Join(parts, ", "))
}

// counted counts the decisions about one place.
func counted(all []*evaluate.Decision) string {
	counts, idle := map[evaluate.Outcome]int{}, 0
	for _, d := range all {
		if Idle(d) {
			idle++
		} else {
			counts[d.Decision]++
		}
	}
	var parts []string
	for _, o := range []evaluate.Outcome{evaluate.Blocked, evaluate.Undecided, evaluate.Pass} {
		if n := counts[o]; n > 0 {
			parts = append(parts, number(n)+" "+map[evaluate.Outcome]string{evaluate.Blocked: "blocked", evaluate.Undecided: "undecided", evaluate.Pass: "passed"}[o])
		}
	}
	if idle > 0 {
		parts = append(parts, "no control applies to "+number(idle))
	}
	return strings.Join(parts, ", ")
}

// A blocking is a control that keeps artifacts from passing.
type blocking struct {
	Class, Mark           string
	ID, Title, Text       string
	Severity, Owner, What string
	Reasons               []reason
	More                  string
}

// A reason is why a control keeps artifacts from passing, at some places.
type reason struct {
	Artifacts, Places, Reason, Fix string
	Missing                        []string
}

// addBlocking adds the enforced controls that do not hold, the worst first.
func (v *viewer) addBlocking() {
	var found []*Control
	for i := range v.Release.Controls {
		c := &v.Release.Controls[i]
		if slices.ContainsFunc(c.Results, func(r ControlResult) bool { return r.Mode == evaluate.Enforce && !r.Holds() }) {
			found = append(found, c)
		}
	}
	slices.SortStableFunc(found, func(a, b *Control) int {
		return cmp.Or(slices.Index(Statuses, a.Status)-slices.Index(Statuses, b.Status), slices.Index(severities, a.Severity)-slices.Index(severities, b.Severity))
	})
	for i, c := range found {
		if i == maxBlocking {
			v.Blocking[i-1].More = join(v.Blocking[i-1].More, fmt.Sprintf("%s in the table of controls below.", count(len(found)-i, "further control")))
			break
		}
		v.Blocking = append(v.Blocking, v.blocking(c))
	}
	v.addReasons()
}

var severities = []string{"critical", "high", "medium", "low"}

func (v *viewer) blocking(c *Control) *blocking {
	look := looks[string(c.Status)]
	b := &blocking{Class: look.class, Mark: look.mark, ID: c.Id, Title: c.Title, Text: c.Description, Severity: c.Severity, Owner: c.Owner}
	type key struct{ reason, missing string }
	var order []key
	artifacts, places := map[key][]string{}, map[key][]string{}
	lines := map[key][]string{}
	affected := map[int]bool{}
	for _, r := range c.Results {
		if r.Mode != evaluate.Enforce || r.Holds() {
			continue
		}
		affected[r.Artifact] = true
		k := key{r.Reason, strings.Join(r.Missing, "\n")}
		if _, ok := artifacts[k]; !ok {
			order = append(order, k)
			lines[k] = r.Missing
		}
		artifacts[k] = addOnce(artifacts[k], v.name(r.Artifact))
		places[k] = addOnce(places[k], v.Release.Places[r.Place].String())
	}
	b.What = fmt.Sprintf("%s for %s", look.word, count(len(affected), "artifact"))
	for i, k := range order {
		if i == maxReasons {
			b.More = fmt.Sprintf("%s left out.", count(len(order)-i, "further reason"))
			break
		}
		b.Reasons = append(b.Reasons, reason{Artifacts: some(artifacts[k], 6), Places: some(places[k], 6), Reason: k.reason, Fix: answer.Fix(k.reason), Missing: lines[k]})
	}
	return b
}

// addReasons adds the decisions that have a reason instead of results.
func (v *viewer) addReasons() {
	artifacts := map[string][]string{}
	places := map[string][]string{}
	var order []string
	for i := range v.Release.Artifacts {
		for p, d := range v.Release.Artifacts[i].Decisions {
			code, _, _ := strings.Cut(d.Reason, ":")
			if d.Reason == "" || Idle(d) && !v.idle(i) {
				continue
			}
			if artifacts[code] == nil {
				order = append(order, code)
			}
			artifacts[code] = addOnce(artifacts[code], v.name(i))
			places[code] = addOnce(places[code], v.Release.Places[p].String())
		}
	}
	look := looks[string(evaluate.Undecided)]
	for _, r := range order {
		v.Blocking = append(v.Blocking, &blocking{Class: look.class, Mark: look.mark, Title: "Could not be decided", What: count(len(artifacts[r]), "artifact"),
			Reasons: []reason{{Artifacts: some(artifacts[r], 6), Places: some(places[r], 6), Reason: answer.Explain(r)}}})
	}
}

// idle reports whether no control applies to an artifact at any place.
func (v *viewer) idle(i int) bool {
	return !slices.ContainsFunc(v.Release.Artifacts[i].Decisions, func(d *evaluate.Decision) bool { return !Idle(d) })
}

// name returns the name of an artifact, or its digest without one.
func (v *viewer) name(i int) string {
	a := &v.Release.Artifacts[i]
	return cmp.Or(a.Name, digestOf(a.Digest))
}

// addOnce adds a text that is not the last, as equal ones follow each other or
// are few.
func addOnce(all []string, one string) []string {
	if n := len(all); n > 0 && all[n-1] == one || n < 64 && slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}

// some returns the first of some texts, and how many others there are.
func some(all []string, most int) string {
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %s more", strings.Join(all[:most], ", "), number(len(all)-most))
}

func join(a, b string) string { return strings.TrimSpace(a + " " + b) }

// count returns a number with commas and its noun.
func count(n int, noun string) string {
	_, words, _ := strings.Cut(safetext.Count(n, noun), " ")
	return number(n) + " " + words
}

// number returns a number with commas.
func number(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// distance returns how far a time is from now, in words.
func distance(t, now time.Time) string {
	d, form := t.Sub(now), "in %s"
	if d < 0 {
		d, form = -d, "%s ago"
	}
	switch {
	case d < time.Hour:
		return fmt.Sprintf(form, count(int(d/time.Minute), "minute"))
	case d < 48*time.Hour:
		return fmt.Sprintf(form, count(int(d/time.Hour), "hour"))
	}
	return fmt.Sprintf(form, count(int(d/(24*time.Hour)), "day"))
}

func (v *viewer) addContents() {
	add := func(present bool, id, title string, n int) {
		if present {
			one := link{ID: id, Title: title}
			if n > 0 {
				one.Count = number(n)
			}
			v.Contents = append(v.Contents, one)
		}
	}
	add(len(v.Blocking) > 0, "blocking", "What blocks", len(v.Blocking))
	add(v.view.Exceptions != nil, "exceptions", "Exceptions", len(v.Release.Exceptions))
	add(v.view.Findings != nil, "findings", "Findings", len(v.Release.Findings))
	add(len(v.view.Coverage)+len(v.view.Unknown) > 0, "coverage", "Coverage", 0)
	add(true, "controls", "Controls", len(v.Release.Controls))
	add(true, "artifacts", "Artifacts", len(v.Release.Artifacts))
	add(v.view.Differences != nil, "differences", "Changes", 0)
	for i := range v.view.Events {
		e := &v.view.Events[i]
		add(true, e.ID, e.Title, e.total)
	}
	add(true, "verify", "Verify", 0)
	add(true, "about", "About this page", 0)
}

// sentence returns a text that is not empty with a capital at its beginning.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
