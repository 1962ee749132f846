// Package facts extracts facts from evidence: bounded, typed values that
// controls decide from, such as the vulnerabilities of a scan or the builder of
// provenance.
//
// docs/spec/facts.md specifies them. Facts are a function of an entry's header
// and payload, so they can be computed again. They are claims: whose they are,
// and whether signatures verify, is in the header.
package facts

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/ledger/entry"
)

// Version is the version of the definition of facts.
const Version = 1

// Limits of the facts of an entry.
const (
	MaxPayload    = 64 << 20 // bytes of a payload that is read
	MaxElements   = 50_000   // of one list
	MaxSize       = 32 << 20 // as docs/spec/facts.md, section 3, counts it
	MaxText       = 4096     // bytes of a string
	MaxShort      = 64       // elements of a list inside of an element, such as aliases
	MaxParameters = 64 << 10 // bytes of a build's external parameters
	MaxNested     = 32       // levels of nested components
	MaxProblems   = 16       // problems that are listed
)

// Facts are what the payload of one entry claims. A group is nil if the payload
// has none of it.
type Facts struct {
	Version int `json:"version"`
	// Exceeded is the limit of the payload that prevented reading it. The facts
	// then have no groups.
	Exceeded Limit     `json:"exceeded,omitempty"`
	Problems []Problem `json:"problems,omitempty"` // the first MaxProblems
	// ProblemCount is the number of problems, listed or not.
	ProblemCount int `json:"problemCount,omitempty"`

	Scan       *Scan       `json:"scan,omitempty"`
	VEX        *VEX        `json:"vex,omitempty"`
	SBOM       *SBOM       `json:"sbom,omitempty"`
	Build      *Build      `json:"build,omitempty"`
	Test       *Test       `json:"test,omitempty"`
	Summary    *Summary    `json:"summary,omitempty"`
	Properties *Properties `json:"properties,omitempty"`
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`
	Export     *Export     `json:"export,omitempty"`
	Vetting    *Vetting    `json:"vetting,omitempty"`
}

// A Limit is a limit that was exceeded; "" is none.
type Limit string

// The limits.
const (
	LimitPayload  Limit = "payload"  // MaxPayload
	LimitDepth    Limit = "depth"    // MaxNested
	LimitElements Limit = "elements" // MaxElements
	LimitSize     Limit = "size"     // MaxSize
)

// A Problem is a member of a payload that gives no fact.
type Problem struct {
	Path string `json:"path"` // such as predicate.scanner.result.Results[0]
	Code Code   `json:"code"`
}

// A Code is the kind of a problem.
type Code string

// The codes.
const (
	Missing     Code = "missing"
	WrongType   Code = "wrong-type"
	WrongValue  Code = "wrong-value"
	TooLong     Code = "too-long"
	Duplicate   Code = "duplicate-member"
	Unsupported Code = "unsupported" // of a form that this version does not read
	Malformed   Code = "malformed"   // not JSON, or not the document that the header describes
)

// A List describes how complete the lists of a group are. A decision that reads
// an incomplete list is undecided.
type List struct {
	// Exceeded is the limit that the group exceeds. Its lists are then empty.
	Exceeded Limit `json:"exceeded,omitempty"`
	// Dropped is the number of elements that are malformed and left out.
	Dropped int `json:"dropped,omitempty"`
}

// Complete reports whether no element is left out.
func (l *List) Complete() bool { return l.Exceeded == "" && l.Dropped == 0 }

// A Time is in Unix milliseconds. 0 is none.
type Time uint64

// String returns the time in RFC 3339, or "".
func (t Time) String() string {
	if t == 0 {
		return ""
	}
	return time.UnixMilli(int64(t)).UTC().Format("2006-01-02T15:04:05.999Z")
}

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// A Scan is the result of a vulnerability scanner.
type Scan struct {
	List
	Scanner         Tool            `json:"scanner"`
	Time            Time            `json:"time,omitempty"` // when the scan ended
	Vulnerabilities []Vulnerability `json:"vulnerabilities"`
}

// A Tool is a program.
type Tool struct {
	Name    string `json:"name"` // the same for all versions
	Version string `json:"version,omitempty"`
}

// A Vulnerability is a finding of a scanner: a vulnerability in a package.
type Vulnerability struct {
	ID        string   `json:"id"`
	Aliases   []string `json:"aliases,omitempty"` // at most MaxShort
	Severity  Severity `json:"severity"`
	Score     Score    `json:"score,omitempty"`
	Package   Package  `json:"package,omitzero"` // zero if the scanner names none
	Fixed     string   `json:"fixed,omitempty"`  // versions that fix it, as the scanner writes them
	Published Time     `json:"published,omitempty"`
}

// A Package is a software package.
type Package struct {
	PURL    string `json:"purl,omitempty"` // canonical
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
}

// A Severity is that of a vulnerability.
type Severity uint8

// The severities. Unknown is not below the others: it can be any of them.
const (
	Unknown Severity = iota
	Info
	Low
	Medium
	High
	Critical
)

var severities = []string{"unknown", "info", "low", "medium", "high", "critical"}

func (s Severity) String() string { return severities[s] }

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Score is a CVSS score in tenths, 1 to 100. 0 is none.
type Score uint8

// Float returns the score, 0.1 to 10, or 0 if there is none.
func (s Score) Float() float64 { return float64(s) / 10 }

// MarshalJSON implements json.Marshaler.
func (s Score) MarshalJSON() ([]byte, error) { return json.Marshal(s.Float()) }

// A VEX is a document about the exploitability of vulnerabilities.
type VEX struct {
	List
	Author     string      `json:"author,omitempty"`
	Statements []Statement `json:"statements"`
}

// A Statement is about one vulnerability in some products.
type Statement struct {
	ID            string   `json:"id"`
	Aliases       []string `json:"aliases,omitempty"` // at most MaxShort
	Status        Status   `json:"status"`
	Justification string   `json:"justification,omitempty"`
	Time          Time     `json:"time,omitempty"`
	// Products that the statement is about. None: the subjects of the entry.
	Products []Product `json:"products,omitempty"`
	// Subcomponents restrict the statement to these packages of the products.
	Subcomponents []Identity `json:"subcomponents,omitempty"`
}

// A Status is that of a VEX statement.
type Status uint8

// The statuses.
const (
	UnderInvestigation Status = iota
	Affected
	Fixed
	NotAffected
)

var statuses = []string{"under_investigation", "affected", "fixed", "not_affected"}

func (s Status) String() string { return statuses[s] }

// MarshalText implements encoding.TextMarshaler.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Removes reports whether the status removes a finding.
func (s Status) Removes() bool { return s == Fixed || s == NotAffected }

// A Product is something that a VEX statement is about.
type Product struct {
	Identity
	// Subcomponents restrict the statement to these packages of the product.
	Subcomponents []Identity `json:"subcomponents,omitempty"`
}

// An Identity names a product or component.
type Identity struct {
	ID      string  `json:"id,omitempty"`   // as in the document, unless it is a package URL
	PURL    string  `json:"purl,omitempty"` // canonical
	Digests Digests `json:"digests,omitempty"`
}

// Digests are digests of one artifact, sorted by algorithm.
type Digests []Digest

// A Digest is in the form that headers have.
type Digest struct{ Algorithm, Value string }

// MarshalJSON implements json.Marshaler.
func (d Digests) MarshalJSON() ([]byte, error) { return json.Marshal(d.Map()) }

// Map returns the digests by algorithm.
func (d Digests) Map() map[string]string {
	m := make(map[string]string, len(d))
	for _, one := range d {
		m[one.Algorithm] = one.Value
	}
	return m
}

// Has reports whether d is one of the digests.
func (d Digests) Has(other entry.Digest) bool {
	return slices.ContainsFunc(d, func(one Digest) bool { return entry.CanonicalDigest(one.Algorithm, one.Value) == other })
}

// An SBOM is a bill of materials.
type SBOM struct {
	List
	Format     string      `json:"format"` // SPDX or CycloneDX
	Version    string      `json:"version"`
	Name       string      `json:"name,omitempty"`
	Time       Time        `json:"time,omitempty"`
	Components []Component `json:"components"`
}

// A Component is an element of a bill of materials.
type Component struct {
	Package
	Licenses []string `json:"licenses,omitempty"` // expressions or names; at most MaxShort
}

// A Build is the provenance of artifacts.
type Build struct {
	List
	Builder    string `json:"builder"`
	Type       string `json:"type"`
	Invocation string `json:"invocation,omitempty"`
	Started    Time   `json:"started,omitempty"`
	Finished   Time   `json:"finished,omitempty"`
	// Parameters is a JSON object without insignificant space, of at most
	// MaxParameters bytes. Nil: none.
	Parameters jsontext.Value `json:"parameters,omitempty"`
	// ParametersExceeded reports that the parameters are larger. Parameters is
	// then nil.
	ParametersExceeded bool       `json:"parametersExceeded,omitempty"`
	Materials          []Resource `json:"materials"`
}

// A Resource is a ResourceDescriptor of in-toto.
type Resource struct {
	Name    string  `json:"name,omitempty"`
	URI     string  `json:"uri,omitempty"`
	Digests Digests `json:"digests,omitempty"`
}

// IsZero reports whether nothing is set.
func (r Resource) IsZero() bool { return r.Name == "" && r.URI == "" && len(r.Digests) == 0 }

// A Test is the result of a test run.
type Test struct {
	List
	Result        string     `json:"result"` // PASSED, WARNED or FAILED
	URL           string     `json:"url,omitempty"`
	Configuration []Resource `json:"configuration,omitempty"`
	Passed        []string   `json:"passed,omitempty"`
	Warned        []string   `json:"warned,omitempty"`
	Failed        []string   `json:"failed,omitempty"`
}

// A Summary is a verification summary (SLSA VSA).
type Summary struct {
	List
	Verifier string   `json:"verifier"`
	Resource string   `json:"resource"`
	Policy   Resource `json:"policy,omitzero"`
	Result   string   `json:"result"` // PASSED or FAILED
	Levels   []string `json:"levels"`
	Time     Time     `json:"time,omitempty"`
}

// Properties are those that a verifier (SVR) or producer (SCAI) attests.
type Properties struct {
	List
	Verifier   string     `json:"verifier,omitempty"`
	Time       Time       `json:"time,omitempty"`
	Properties []Property `json:"properties"`
}

// A Property is one of the subjects, or of the target if there is one.
type Property struct {
	Name   string   `json:"name"`
	Target Resource `json:"target,omitzero"`
}

// A Checkpoint is the progress of a backfill.
type Checkpoint struct {
	Entity        string  `json:"entity"`
	Checkpoint    string  `json:"checkpoint"` // such as "50%"
	ACAScore      float64 `json:"acaScore"`   // 0 to 1
	Time          string  `json:"ts"`         // as in the document
	RollbackReady bool    `json:"rollbackReady"`
}

// An Export is the manifest of exported data. Manifests of version 1 have
// neither Tenant nor Contents nor Residency.
type Export struct {
	List
	Tenant   string   `json:"tenant,omitempty"`
	Name     string   `json:"name"`
	Created  Time     `json:"created"`
	Regions  []string `json:"regions"`
	Licenses []string `json:"licenses"`
	Files    int      `json:"files"`
	// Contents are the files.
	Contents []ExportFile `json:"contents,omitempty"`
	// Residency claims where the data was stored and processed.
	Residency []ResidencyClaim `json:"residency,omitempty"`
	// Privacy is nil unless the export is differentially private.
	Privacy *Privacy `json:"privacy,omitempty"`
}

// An ExportFile is a file of an export.
type ExportFile struct {
	Name      string   `json:"name"`
	Digests   Digests  `json:"digests,omitempty"`
	Size      int      `json:"size"` // bytes
	MediaType string   `json:"mediaType,omitempty"`
	Rows      *int     `json:"rows,omitempty"` // as claimed; nil: not stated
	Licenses  []string `json:"licenses"`       // of the file and its field sets; at most MaxShort
}

// A ResidencyClaim asserts where the data of an export was.
type ResidencyClaim struct {
	Activity  string     `json:"activity"`  // storage or processing
	Locations []Location `json:"locations"` // at most MaxShort
	ClaimedBy Signer     `json:"claimedBy"`
	Evidence  int        `json:"evidence"` // number of entries that support it
}

// A Location is a place.
type Location struct {
	Country     string `json:"country"`
	State       string `json:"state,omitempty"`
	CloudRegion string `json:"cloudRegion,omitempty"`
}

// A Signer asserts something. It has an identity or a key ID.
type Signer struct {
	Identity string `json:"identity,omitempty"`
	Issuer   string `json:"issuer,omitempty"`
	KeyID    string `json:"keyId,omitempty"`
}

// A Privacy is the privacy loss of an export. Manifests of version 1 have only
// Epsilon, Delta, Budget and Spent.
type Privacy struct {
	Flavor   string   `json:"flavor,omitempty"`
	Unit     string   `json:"unit,omitempty"`
	Relation string   `json:"relation,omitempty"` // unbounded or bounded
	Epsilon  float64  `json:"epsilon"`
	Delta    float64  `json:"delta,omitempty"`
	Rho      *float64 `json:"rho,omitempty"`

	SensitivityBy Signer `json:"sensitivityBy,omitzero"`
	Sampler       string `json:"sampler,omitempty"`
	SamplerBy     Signer `json:"samplerBy,omitzero"`

	BudgetName  string   `json:"budgetName,omitempty"`
	Budget      float64  `json:"budget"` // ε of all exports
	BudgetDelta float64  `json:"budgetDelta,omitempty"`
	Spent       *float64 `json:"spent,omitempty"` // ε of all exports up to this one
	SpentRho    *float64 `json:"spentRho,omitempty"`
	// AddsUp reports whether the loss is at least that of the mechanisms, and
	// within the budget. Nil: the manifest does not list mechanisms.
	AddsUp *bool `json:"addsUp,omitempty"`
}

// A Vetting is that of an image without provenance.
type Vetting struct {
	Image   string `json:"image"` // as REGISTRY/NAME:TAG
	Vetted  Time   `json:"vetted"`
	Expires Time   `json:"expires"`
}

// normalize makes the lists of groups empty rather than nil, so that they are
// arrays in JSON.
func (f *Facts) normalize() {
	if f.Scan != nil {
		f.Scan.Vulnerabilities = notNil(f.Scan.Vulnerabilities)
	}
	if f.VEX != nil {
		f.VEX.Statements = notNil(f.VEX.Statements)
	}
	if f.SBOM != nil {
		f.SBOM.Components = notNil(f.SBOM.Components)
	}
	if f.Build != nil {
		f.Build.Materials = notNil(f.Build.Materials)
	}
	if f.Summary != nil {
		f.Summary.Levels = notNil(f.Summary.Levels)
	}
	if f.Properties != nil {
		f.Properties.Properties = notNil(f.Properties.Properties)
	}
	if f.Export != nil {
		f.Export.Regions, f.Export.Licenses = notNil(f.Export.Regions), notNil(f.Export.Licenses)
		for i := range f.Export.Contents {
			f.Export.Contents[i].Licenses = notNil(f.Export.Contents[i].Licenses)
		}
	}
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// problem adds a problem.
func (f *Facts) problem(path string, code Code) {
	if f.ProblemCount++; f.ProblemCount <= MaxProblems {
		f.Problems = append(f.Problems, Problem{path, code})
	}
}

// String returns the problem in one line.
func (p Problem) String() string {
	if p.Path == "" {
		return string(p.Code)
	}
	return fmt.Sprintf("%s: %s", p.Path, p.Code)
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Status) UnmarshalText(text []byte) error {
	status, ok := statusOf(string(text))
	if !ok {
		return fmt.Errorf("%q is not a status of a VEX statement", text)
	}
	*s = status
	return nil
}
