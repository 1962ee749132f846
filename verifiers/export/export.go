// Package export verifies export manifests, offline and with no server code. It
// follows docs/spec/export-manifest.md.
package export

import (
	"muniment.dev/muniment/ledger/entry"

	"muniment.dev/muniment/verifiers/intoto"
)

// PredicateType is the predicate type of export manifests.
const PredicateType = "https://muniment.dev/predicate/export-manifest/v2"

// MediaTypes are the usual media types of exported files, by the ends of their
// names.
var MediaTypes = map[string]string{
	".csv": "text/csv", ".json": "application/json", ".jsonl": "application/jsonl",
	".parquet": "application/vnd.apache.parquet", ".txt": "text/plain", ".gz": "application/gzip",
}

// FileSuffix is the conventional end of the names of manifests.
const FileSuffix = ".export.sigstore.json"

const (
	statementType = "https://in-toto.io/Statement/v1"
	payloadType   = intoto.MediaType
)

// Limits of a manifest. See docs/spec/export-manifest.md, sections 1 and 2.
const (
	MaxSize  = 1 << 20 // bytes of the file
	MaxFiles = 1024
	// MaxReceipt is the number of bytes that readers of a manifest's receipt
	// accept. It can contain the manifest.
	MaxReceipt = 4 << 20
)

// A Manifest is the content of the statement.
type Manifest struct {
	Tenant          string
	ExportID        string
	Created         string // RFC 3339 in UTC, to the second
	Files           []File
	Use             *Use // nil: the manifest does not limit the places
	Claims          []Claim
	SPDXListVersion string
	Privacy         *Privacy // nil: not differentially private
}

// A File is a file of the export.
type File struct {
	Name      string
	SHA256    entry.Hash
	Size      uint64 // bytes
	MediaType string
	Rows      *uint64 // a claim; nil: not stated
	License   []string
	FieldSets []FieldSet
}

// A FieldSet is a set of fields with licences of their own.
type FieldSet struct {
	Fields  []string
	License []string
}

// Use limits where data is allowed to be. An empty list sets no limit.
type Use struct {
	StorageAllowed     []Geography
	StorageForbidden   []Geography
	ProcessingIncluded []Geography
	ProcessingExcluded []Geography
}

// A Geography is a country, or a part of one.
type Geography struct {
	Country string // ISO 3166-1 alpha-2
	State   string // ISO 3166-2; "": the whole country
}

// The activities of residency claims.
const (
	Storage    = "storage"
	Processing = "processing"
)

// A Claim asserts where the data was stored or processed.
type Claim struct {
	Activity  string
	Locations []Location
	ClaimedBy entry.Signer
	Evidence  []EvidenceEntry
}

// A Location is a place, or a region of a cloud.
type Location struct {
	Geography
	CloudRegion string // "": none
}

// An EvidenceEntry is an entry of the tenant's stream.
type EvidenceEntry struct {
	Index    uint64
	LeafHash entry.Hash
}

// The flavors of differential privacy.
const (
	PureDP = "Pure DP"
	ZCDP   = "Zero-concentrated DP"
)

// The mechanisms.
const (
	Gaussian = "Gaussian"
	Laplace  = "Laplace"
)

// Privacy is the privacy loss of an export, and the budget it is charged to.
type Privacy struct {
	Flavor          string
	Unit            string
	UnitDescription string // "": none
	Relation        string // unbounded or bounded
	Parameters      Parameters
	Mechanisms      []Mechanism
	SensitivityBy   entry.Signer
	Sampler         string
	SamplerBy       entry.Signer
	Budget          string
	BudgetEpsilon   Decimal
	BudgetDelta     *Decimal
	SpentEpsilon    *Decimal
	SpentRho        *Decimal
}

// Parameters are the privacy parameters of an export.
type Parameters struct {
	Epsilon    Decimal
	Delta, Rho *Decimal // nil: absent
}

// A Mechanism is noise that answered Count queries.
type Mechanism struct {
	Name        string
	Sensitivity Rational
	Scale       Rational // σ of Gaussian, b of Laplace
	Count       uint64
}
