package facts

import (
	"context"
	"strings"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/intoto"
)

// A row is a type of evidence.
type row struct {
	predicate string // as intoto.FamilyOf returns it; "" for none
	mediaType string // of documents that are not signed; "" for none
	// extract reads the predicate or document. Nil if it gives no facts.
	extract func(*reader) error
	joins   bool // whether it can be a scan or a VEX document
}

// table has every type of predicate that package intoto defines, and those of
// this project's kinds that give facts.
var table = []row{
	{predicate: intoto.CosignVuln, extract: (*reader).cosignVuln, joins: true},
	{predicate: intoto.VulnsV01, extract: (*reader).vulns, joins: true},
	{predicate: intoto.VulnsV02, extract: (*reader).vulns, joins: true},
	{predicate: intoto.OpenVEX, extract: (*reader).openVEX, joins: true},
	{predicate: intoto.SPDX, mediaType: "application/spdx+json", extract: (*reader).spdx2},
	{predicate: intoto.CycloneDX, mediaType: "application/vnd.cyclonedx+json", extract: (*reader).cycloneDX, joins: true},
	{predicate: intoto.SLSAProvenanceV1, extract: (*reader).provenanceV1},
	{predicate: intoto.SLSAProvenanceV02, extract: (*reader).provenanceV02},
	{predicate: intoto.SLSASummaryV1, extract: (*reader).summaryV1},
	{predicate: intoto.SLSASummaryV02, extract: (*reader).summaryV02},
	{predicate: intoto.TestResult, extract: (*reader).testResult},
	{predicate: intoto.SVR, extract: (*reader).simpleResult},
	{predicate: intoto.SCAI, extract: (*reader).attributeReport},
	{predicate: intoto.KindType(kindname.BackfillCheckpoint), extract: (*reader).backfillCheckpoint},
	{predicate: intoto.KindType(kindname.ExportManifest), extract: (*reader).exportManifestV1},
	{predicate: export.PredicateType, extract: (*reader).exportManifestV2},
	{predicate: intoto.KindType(kindname.Vetting), extract: (*reader).vetting},

	{predicate: intoto.SPDX3},
	{predicate: intoto.SLSAProvenanceV01},
	{predicate: intoto.LinkV1},
	{predicate: intoto.LinkV02},
	{predicate: intoto.LinkV03},
	{predicate: intoto.CosignSign},
	{predicate: intoto.Reference},
	{predicate: intoto.RuntimeTrace},
	{predicate: intoto.ReleaseV01},
	{predicate: intoto.ReleaseV02},
	{predicate: intoto.Deployment},
}

var byPredicate, byMediaType = func() (p, m map[string]*row) {
	p, m = map[string]*row{}, map[string]*row{}
	for i := range table {
		if table[i].extract == nil {
			continue
		}
		p[table[i].predicate] = &table[i]
		if table[i].mediaType != "" {
			m[table[i].mediaType] = &table[i]
		}
	}
	return p, m
}()

// rowOf returns the row of an entry, or nil if the entry has no facts.
func rowOf(h *entry.Header) *row {
	switch {
	case h.External != nil:
		return nil
	case h.PredicateType != "":
		return byPredicate[intoto.FamilyOf(h.PredicateType)]
	case h.Kind != kindname.Attestation:
		return byPredicate[intoto.KindType(h.Kind)]
	}
	base, _, _ := strings.Cut(h.MediaType, ";")
	return byMediaType[strings.TrimSpace(base)]
}

// Expected reports whether the entry with the header has facts, unless its
// payload was erased.
func Expected(h *entry.Header) bool { return rowOf(h) != nil }

// Joins reports whether the entry with the header can be a scan or a VEX
// document. The facts of other entries do not matter to Unresolved.
func Joins(h *entry.Header) bool {
	r := rowOf(h)
	return r != nil && r.joins
}

// Extract returns the facts of an entry that is being made, or nil if it has
// none. The document is the statement's predicate if there is a statement, and
// the payload if not. It is nil if the payload is too large to be read.
//
// The only error is that of step, which is called after each part of the work.
func Extract(ctx context.Context, step Step, h *entry.Header, s *intoto.Statement, document []byte) (*Facts, error) {
	row := rowOf(h)
	if row == nil {
		return nil, nil
	}
	f := &Facts{Version: Version}
	name := ""
	switch {
	case h.Payload.Size > MaxPayload:
		f.Exceeded = LimitPayload
		return f, nil
	case h.PredicateType != "" && s == nil:
		f.problem("", Malformed)
		return f, nil
	case s != nil:
		name, document = predicate, s.Predicate
		if s.Predicate == nil || s.Predicate.Kind() == 'n' {
			document = []byte("{}") // as package intoto reads it
		}
	}
	r := newReader(ctx, step, document, name, f)
	err := r.read(row)
	if ended := ctx.Err(); ended != nil {
		return nil, ended
	}
	switch {
	case err == nil || err == errBad:
	case err == errDepth:
		*f = Facts{Version: Version, Exceeded: LimitDepth}
	case r.stopped != nil:
		return nil, r.stopped
	default:
		*f = Facts{Version: Version}
		f.problem("", Malformed)
	}
	f.finish(r.size > MaxSize)
	return f, nil
}

// predicate begins the paths in a statement.
const predicate = "predicate"

// read reads the whole document.
func (r *reader) read(row *row) error {
	if r.dec.PeekKind() == 'n' {
		r.note(WrongType)
		return errBad
	}
	return row.extract(r)
}

// finish empties the lists of groups that exceed a limit. All do if the facts
// are too large together.
func (f *Facts) finish(tooLarge bool) {
	end := func(l *List) bool {
		if l.Exceeded == "" && tooLarge {
			l.Exceeded = LimitSize
		}
		if l.Exceeded != "" {
			l.Dropped = 0
		}
		return l.Exceeded != ""
	}
	if g := f.Scan; g != nil && end(&g.List) {
		g.Vulnerabilities = nil
	}
	if g := f.VEX; g != nil && end(&g.List) {
		g.Statements = nil
	}
	if g := f.SBOM; g != nil && end(&g.List) {
		g.Components = nil
	}
	if g := f.Build; g != nil && end(&g.List) {
		g.Materials = nil
	}
	if g := f.Test; g != nil && end(&g.List) {
		g.Configuration, g.Passed, g.Warned, g.Failed = nil, nil, nil, nil
	}
	if g := f.Summary; g != nil && end(&g.List) {
		g.Levels = nil
	}
	if g := f.Properties; g != nil && end(&g.List) {
		g.Properties = nil
	}
	if g := f.Export; g != nil && end(&g.List) {
		g.Contents, g.Residency, g.Regions, g.Licenses = nil, nil, nil, nil
	}
	f.normalize()
}

// Derive returns the encoded facts of an entry, or nil if it has none. It calls
// payload, which returns the payload's content, only if the entry can have
// facts.
func Derive(ctx context.Context, h *entry.Header, payload func() ([]byte, error)) ([]byte, error) {
	f, err := OfPayload(ctx, h, payload)
	if f == nil || err != nil {
		return nil, err
	}
	return f.Encode(), nil
}

// OfPayload is Derive without the encoding.
func OfPayload(ctx context.Context, h *entry.Header, payload func() ([]byte, error)) (*Facts, error) {
	if rowOf(h) == nil {
		return nil, nil
	}
	var content []byte
	if h.Payload.Size <= MaxPayload {
		var err error
		if content, err = payload(); err != nil {
			return nil, err
		}
	}
	step := func(ctx context.Context, _ int) error { return ctx.Err() }
	return Extract(ctx, step, h, statementOf(h, content), content)
}

// statementOf returns the statement in a payload, or nil if there is none.
func statementOf(h *entry.Header, content []byte) *intoto.Statement {
	f := format.Of(h.MediaType)
	if h.PredicateType == "" || content == nil || f == nil {
		return nil
	}
	d, err := f.Read(content)
	if err != nil { // the payload is not what its header describes
		return nil
	}
	return d.Statement
}
