package export

import (
	"iter"
	"maps"
	"slices"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
)

// A Report is the result of a verified manifest. Its JSON is specified in
// docs/spec/export-manifest.md, section 7.
type Report struct {
	Proven   Proven   `json:"proven"`
	Claimed  Claimed  `json:"claimed"`
	Warnings []string `json:"warnings"`
}

// Proven is what a verification has proven, given the signers.
type Proven struct {
	ManifestSHA256  string         `json:"manifestSha256"`
	PredicateType   string         `json:"predicateType"`
	Tenant          string         `json:"tenant"`
	ExportID        string         `json:"exportId"`
	Signers         []entry.Signer `json:"signers"`
	Files           []ProvenFile   `json:"files"`
	SPDXListVersion string         `json:"spdxListVersion"` // of the verifier's table
	Licenses        []string       `json:"licenses"`
	Privacy         *ProvenPrivacy `json:"privacy,omitempty"`
	Entry           *ProvenEntry   `json:"entry,omitempty"`
	Stream          *StreamFacts   `json:"stream,omitempty"`
}

// A ProvenFile is a file of the export.
type ProvenFile struct {
	Name    string `json:"name"`
	SHA256  string `json:"sha256"`
	Size    uint64 `json:"size"`
	Checked bool   `json:"checked"`
}

// ProvenPrivacy is a privacy loss that adds up.
type ProvenPrivacy struct {
	Flavor  string `json:"flavor"`
	Budget  string `json:"budget"`
	Epsilon string `json:"epsilon"`
	Delta   string `json:"delta,omitempty"`
	Rho     string `json:"rho,omitempty"`
	Spent   string `json:"spent"`
}

// A ProvenEntry is the entry that records the manifest.
type ProvenEntry struct {
	Origin string `json:"origin"`
	Index  uint64 `json:"index"`
	Size   uint64 `json:"size"`
	Time   uint64 `json:"time"` // Unix milliseconds; claimed by the log
}

// Claimed is what the signers claim.
type Claimed struct {
	Created     string         `json:"created"`
	Rows        *uint64        `json:"rows,omitempty"`
	Residency   []ClaimedPlace `json:"residency"`
	Sensitivity *ClaimedBy     `json:"sensitivity,omitempty"`
	Sampler     *ClaimedBy     `json:"sampler,omitempty"`
}

// A ClaimedPlace is a residency claim.
type ClaimedPlace struct {
	Activity  string       `json:"activity"`
	Places    []string     `json:"places"`
	ClaimedBy entry.Signer `json:"claimedBy"`
	Evidence  int          `json:"evidence"` // number of entries
}

// ClaimedBy names who claims something.
type ClaimedBy struct {
	Name      string       `json:"name,omitempty"`
	ClaimedBy entry.Signer `json:"claimedBy"`
}

// The warnings: checks that were not performed.
const (
	FilesNotChecked          = "files-not-checked"
	LicensesNotDecided       = "licenses-not-decided"
	ResidencyNotDecided      = "residency-not-decided"
	ResidencyWithoutEvidence = "residency-without-evidence"
	EvidenceNotChecked       = "evidence-not-checked"
	NotRecorded              = "not-recorded"
	NotWitnessed             = "not-witnessed"
	SpendsNotChecked         = "spends-not-checked"
	OtherList                = "other-list"
)

// finish returns the report.
func (v *verification) finish() *Report {
	m := v.manifest
	sha := v.digest()
	r := &Report{
		Proven: Proven{ManifestSHA256: sha.String(), PredicateType: PredicateType, Tenant: m.Tenant, ExportID: m.ExportID, Signers: v.signers,
			SPDXListVersion: SPDXListVersion(), Licenses: m.Licenses(), Stream: v.stream},
		Claimed: Claimed{Created: m.Created, Rows: m.rows(), Residency: m.claims()}, Warnings: v.warnings(),
	}
	for _, f := range m.Files {
		r.Proven.Files = append(r.Proven.Files, ProvenFile{f.Name, f.SHA256.String(), f.Size, v.o.Files != nil})
	}
	if s := v.receipt; s != nil {
		r.Proven.Entry = &ProvenEntry{s.Origin, s.Index, s.Size, s.Time}
	}
	if p := m.Privacy; p != nil {
		r.Proven.Privacy = &ProvenPrivacy{Flavor: p.Flavor, Budget: p.Budget, Epsilon: p.Parameters.Epsilon.String(), Spent: p.Spent().String()}
		if p.Flavor == ZCDP {
			r.Proven.Privacy.Delta, r.Proven.Privacy.Rho = p.Parameters.Delta.String(), p.Parameters.Rho.String()
		}
		r.Claimed.Sensitivity, r.Claimed.Sampler = &ClaimedBy{ClaimedBy: p.SensitivityBy}, &ClaimedBy{p.Sampler, p.SamplerBy}
	}
	return r
}

// rows returns the sum of the rows, or nil if no file states them or the sum
// exceeds the integers of reports. 1,024 files cannot overflow it.
func (m *Manifest) rows() *uint64 {
	var sum uint64
	stated := false
	for _, f := range m.Files {
		if f.Rows != nil {
			sum, stated = sum+*f.Rows, true
		}
	}
	if !stated || sum > strictjson.MaxInteger {
		return nil
	}
	return &sum
}

func (m *Manifest) claims() (all []ClaimedPlace) {
	for _, c := range m.Claims {
		one := ClaimedPlace{Activity: c.Activity, ClaimedBy: c.ClaimedBy, Evidence: len(c.Evidence)}
		for _, l := range c.Locations {
			one.Places = append(one.Places, l.Label())
		}
		all = append(all, one)
	}
	return all
}

// expressions yields the SPDX expressions of the files in their order.
func (m *Manifest) expressions() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, f := range m.Files {
			for _, e := range f.License {
				if !yield(e) {
					return
				}
			}
			for _, s := range f.FieldSets {
				for _, e := range s.License {
					if !yield(e) {
						return
					}
				}
			}
		}
	}
}

// Licenses returns the different SPDX expressions, sorted.
func (m *Manifest) Licenses() []string {
	all := map[string]bool{}
	for e := range m.expressions() {
		all[e] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// ClaimedBy returns the signers that the claims of the manifest name.
func (m *Manifest) ClaimedBy() (all []entry.Signer) {
	add := func(s entry.Signer) {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	for _, c := range m.Claims {
		add(c.ClaimedBy)
	}
	if p := m.Privacy; p != nil {
		add(p.SensitivityBy)
		add(p.SamplerBy)
	}
	return all
}

// Places returns the different labels of the locations, in the order of the
// text.
func (m *Manifest) Places() (all []string) {
	for l := range m.locations() {
		if !slices.Contains(all, l.Label()) {
			all = append(all, l.Label())
		}
	}
	return all
}

// warnings lists the checks that were not performed.
func (v *verification) warnings() []string {
	m, o := v.manifest, v.o
	evidence := 0
	bare := false
	for _, c := range m.Claims {
		evidence += len(c.Evidence)
		bare = bare || len(c.Evidence) == 0
	}
	all := []string{}
	for _, w := range []struct {
		code string
		is   bool
	}{
		{FilesNotChecked, o.Files == nil},
		{LicensesNotDecided, o.Licenses == nil},
		{ResidencyNotDecided, m.Use == nil && o.Residency == nil},
		{ResidencyWithoutEvidence, bare},
		{EvidenceNotChecked, evidence > 0 && v.stream == nil},
		{NotRecorded, v.receipt == nil},
		{NotWitnessed, v.receipt != nil && !v.receipt.Witnessed},
		{SpendsNotChecked, m.Privacy != nil && v.stream == nil},
		{OtherList, m.SPDXListVersion != SPDXListVersion()},
	} {
		if w.is {
			all = append(all, w.code)
		}
	}
	return all
}

// SignerText returns a signer for people.
func SignerText(s entry.Signer) string {
	if s.KeyID != "" {
		return "the key " + s.KeyID
	}
	return s.Identity + " (" + s.Issuer + ")"
}
