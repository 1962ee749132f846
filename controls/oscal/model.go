package oscal

// The structs below are the part of the models that documents of this package
// have (https://pages.nist.gov/OSCAL-Reference/models/v1.2.3/). Lists that are
// empty must be absent, because the schemas require an element of each.

// Version is the version of OSCAL.
const Version = "1.2.3"

// AssessmentResults is a document of assessment results.
type AssessmentResults struct {
	UUID       string     `json:"uuid"`
	Metadata   Metadata   `json:"metadata"`
	ImportAP   Import     `json:"import-ap"`
	Results    []Result   `json:"results"`
	BackMatter BackMatter `json:"back-matter"`
}

// POAM is a plan of action and milestones.
type POAM struct {
	UUID             string            `json:"uuid"`
	Metadata         Metadata          `json:"metadata"`
	SystemID         SystemID          `json:"system-id"`
	LocalDefinitions *LocalDefinitions `json:"local-definitions,omitempty"`
	Observations     []Observation     `json:"observations,omitempty"`
	Risks            []Risk            `json:"risks,omitempty"`
	Findings         []Finding         `json:"findings,omitempty"`
	Items            []Item            `json:"poam-items"`
	BackMatter       BackMatter        `json:"back-matter"`
}

// Metadata describes a document.
type Metadata struct {
	Title              string             `json:"title"`
	LastModified       string             `json:"last-modified"`
	Version            string             `json:"version"`
	OSCALVersion       string             `json:"oscal-version"`
	Props              []Prop             `json:"props,omitempty"`
	Roles              []Role             `json:"roles,omitempty"`
	Parties            []Party            `json:"parties,omitempty"`
	ResponsibleParties []ResponsibleParty `json:"responsible-parties,omitempty"`
	Remarks            string             `json:"remarks,omitempty"`
}

// A Role is a function of parties.
type Role struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

// A Party is a person or an organization.
type Party struct {
	UUID  string `json:"uuid"`
	Type  string `json:"type"` // person or organization
	Name  string `json:"name"`
	Props []Prop `json:"props,omitempty"`
}

// A ResponsibleParty assigns parties to a role.
type ResponsibleParty struct {
	RoleID  string   `json:"role-id"`
	Parties []string `json:"party-uuids"`
}

// A Prop is a property. Its name is in the namespace of this package.
type Prop struct {
	Name  string `json:"name"`
	NS    string `json:"ns,omitempty"`
	Value string `json:"value"`
}

// A Link refers to another document.
type Link struct {
	Href string `json:"href"`
	Rel  string `json:"rel,omitempty"`
	Text string `json:"text,omitempty"`
}

// An Import refers to the document that this one is based on.
type Import struct {
	Href    string `json:"href"`
	Remarks string `json:"remarks,omitempty"`
}

// A SystemID identifies the system.
type SystemID struct {
	Type string `json:"identifier-type,omitempty"`
	ID   string `json:"id"`
}

// LocalDefinitions has what no other document defines.
type LocalDefinitions struct {
	Components []Component       `json:"components,omitempty"`
	Assets     *AssessmentAssets `json:"assessment-assets,omitempty"`
}

// A Component is an artifact or a tool.
type Component struct {
	UUID        string `json:"uuid"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Props       []Prop `json:"props,omitempty"`
	Status      State  `json:"status"`
}

// A State is the state of a component or the status of a target.
type State struct {
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Remarks string `json:"remarks,omitempty"`
}

// AssessmentAssets are the tools of the assessment.
type AssessmentAssets struct {
	Components []Component `json:"components,omitempty"`
	Platforms  []Platform  `json:"assessment-platforms"`
}

// A Platform is what tools run on.
type Platform struct {
	UUID  string `json:"uuid"`
	Title string `json:"title,omitempty"`
	Uses  []Uses `json:"uses-components,omitempty"`
}

// Uses refers to a component.
type Uses struct {
	Component string `json:"component-uuid"`
}

// A Result is the result of one assessment.
type Result struct {
	UUID             string           `json:"uuid"`
	Title            string           `json:"title"`
	Description      string           `json:"description"`
	Start            string           `json:"start"`
	End              string           `json:"end,omitempty"`
	Props            []Prop           `json:"props,omitempty"`
	LocalDefinitions LocalDefinitions `json:"local-definitions"`
	Reviewed         Reviewed         `json:"reviewed-controls"`
	Observations     []Observation    `json:"observations,omitempty"`
	Risks            []Risk           `json:"risks,omitempty"`
	Findings         []Finding        `json:"findings,omitempty"`
	Remarks          string           `json:"remarks,omitempty"`
}

// Reviewed lists the controls that were assessed.
type Reviewed struct {
	Selections []Selection `json:"control-selections"`
}

// A Selection selects controls.
type Selection struct {
	Description string      `json:"description,omitempty"`
	IncludeAll  *struct{}   `json:"include-all,omitempty"`
	Include     []ControlID `json:"include-controls,omitempty"`
}

// A ControlID names a control.
type ControlID struct {
	ID string `json:"control-id"`
}

// An Observation is what an entry of the log records.
type Observation struct {
	UUID        string     `json:"uuid"`
	Title       string     `json:"title,omitempty"`
	Description string     `json:"description"`
	Props       []Prop     `json:"props,omitempty"`
	Links       []Link     `json:"links,omitempty"`
	Methods     []string   `json:"methods"`
	Types       []string   `json:"types,omitempty"`
	Subjects    []Subject  `json:"subjects,omitempty"`
	Evidence    []Evidence `json:"relevant-evidence,omitempty"`
	Collected   string     `json:"collected"`
}

// A Subject is what an observation is about.
type Subject struct {
	UUID string `json:"subject-uuid"`
	Type string `json:"type"`
}

// Evidence is a file of the bundle.
type Evidence struct {
	Href        string `json:"href,omitempty"`
	Description string `json:"description"`
}

// A Risk is a weakness with its treatment.
type Risk struct {
	UUID             string             `json:"uuid"`
	Title            string             `json:"title"`
	Description      string             `json:"description"`
	Statement        string             `json:"statement"`
	Props            []Prop             `json:"props,omitempty"`
	Status           string             `json:"status"`
	Origins          []Origin           `json:"origins,omitempty"`
	Characterization []Characterization `json:"characterizations,omitempty"`
	Deadline         string             `json:"deadline,omitempty"`
	Remediations     []Response         `json:"remediations,omitempty"`
	Log              *RiskLog           `json:"risk-log,omitempty"`
	Observations     []ObservationRef   `json:"related-observations,omitempty"`
}

// An Origin is who has found something.
type Origin struct {
	Actors []Actor `json:"actors"`
}

// An Actor is a party or a tool.
type Actor struct {
	Type string `json:"type"`
	UUID string `json:"actor-uuid"`
}

// A Characterization has the severity of a risk.
type Characterization struct {
	Origin Origin  `json:"origin"`
	Facets []Facet `json:"facets"`
}

// A Facet is a value in a system of values.
type Facet struct {
	Name   string `json:"name"`
	System string `json:"system"`
	Value  string `json:"value"`
}

// A Response is a plan to treat a risk.
type Response struct {
	UUID        string `json:"uuid"`
	Lifecycle   string `json:"lifecycle"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Tasks       []Task `json:"tasks,omitempty"`
}

// A Task is a milestone.
type Task struct {
	UUID   string            `json:"uuid"`
	Type   string            `json:"type"`
	Title  string            `json:"title"`
	Timing *Timing           `json:"timing,omitempty"`
	Roles  []ResponsibleRole `json:"responsible-roles,omitempty"`
}

// A Timing is the date of a milestone.
type Timing struct {
	OnDate OnDate `json:"on-date"`
}

// OnDate is a date.
type OnDate struct {
	Date string `json:"date"`
}

// A ResponsibleRole is a role with its parties.
type ResponsibleRole struct {
	RoleID  string   `json:"role-id"`
	Parties []string `json:"party-uuids,omitempty"`
}

// A RiskLog is the history of a risk.
type RiskLog struct {
	Entries []LogEntry `json:"entries"`
}

// A LogEntry is an event of a risk.
type LogEntry struct {
	UUID     string     `json:"uuid"`
	Title    string     `json:"title,omitempty"`
	Start    string     `json:"start"`
	Props    []Prop     `json:"props,omitempty"`
	Links    []Link     `json:"links,omitempty"`
	LoggedBy []LoggedBy `json:"logged-by,omitempty"`
	Status   string     `json:"status-change,omitempty"`
}

// LoggedBy is the party that has caused an event.
type LoggedBy struct {
	Party string `json:"party-uuid"`
}

// An ObservationRef refers to an observation.
type ObservationRef struct {
	UUID string `json:"observation-uuid"`
}

// A RiskRef refers to a risk.
type RiskRef struct {
	UUID string `json:"risk-uuid"`
}

// A FindingRef refers to a finding.
type FindingRef struct {
	UUID string `json:"finding-uuid"`
}

// A Finding is the status of a control.
type Finding struct {
	UUID         string           `json:"uuid"`
	Title        string           `json:"title"`
	Description  string           `json:"description"`
	Props        []Prop           `json:"props,omitempty"`
	Target       Target           `json:"target"`
	Observations []ObservationRef `json:"related-observations,omitempty"`
	Risks        []RiskRef        `json:"related-risks,omitempty"`
}

// A Target is the control that a finding is about.
type Target struct {
	Type   string `json:"type"`
	ID     string `json:"target-id"`
	Title  string `json:"title,omitempty"`
	Status State  `json:"status"`
}

// An Item is something to be done.
type Item struct {
	UUID         string           `json:"uuid"`
	Title        string           `json:"title"`
	Description  string           `json:"description"`
	Props        []Prop           `json:"props,omitempty"`
	Origins      []Origin         `json:"origins,omitempty"`
	Findings     []FindingRef     `json:"related-findings,omitempty"`
	Observations []ObservationRef `json:"related-observations,omitempty"`
	Risks        []RiskRef        `json:"related-risks,omitempty"`
	Remarks      string           `json:"remarks,omitempty"`
}

// BackMatter has the documents that others refer to.
type BackMatter struct {
	Resources []Resource `json:"resources,omitempty"`
}

// A Resource is a document.
type Resource struct {
	UUID        string         `json:"uuid"`
	Title       string         `json:"title"`
	Description string         `json:"description,omitempty"`
	Props       []Prop         `json:"props,omitempty"`
	Links       []ResourceLink `json:"rlinks,omitempty"`
}

// A ResourceLink is the file of a resource.
type ResourceLink struct {
	Href   string `json:"href"`
	Hashes []Hash `json:"hashes,omitempty"`
}

// A Hash is the digest of a file.
type Hash struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}
