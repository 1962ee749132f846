package ingest

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strconv"
	"time"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/proto/kinds"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/shape"
)

// readEvidence reads a document of the kind attestation. Export manifests have
// a kind of their own, so that no spend of a privacy budget is overlooked.
func readEvidence(mediaType string, payload []byte, now time.Time) (contents, error) {
	c, err := readAttestation(mediaType, payload, now)
	if err == nil && c.predicateType == export.PredicateType {
		return contents{}, fieldErrorf(FieldKind, "an export manifest is not recorded as an attestation: use the kind %s", kindname.ExportManifest)
	}
	return c, err
}

// exportManifests returns the reader of export manifests: signed statements,
// and the documents of version 1.
func exportManifests(k *kinds.Kind) reader {
	version1 := typed(k)
	return func(given string, payload []byte, now time.Time) (contents, error) {
		switch shape.Of(payload) {
		case shape.None:
			return version1(given, payload, now)
		case shape.Statement:
			return contents{}, fieldErrorf(FieldPayload, "the statement is not signed: sign it with 'muniment export-manifest sign'")
		}
		return readManifest(given, payload, now)
	}
}

// readManifest reads a signed manifest. The header gets the attributes of
// docs/spec/export-manifest.md, section 6. Its last subject is the manifest, by
// which gates and inventories find it.
func readManifest(given string, payload []byte, now time.Time) (contents, error) {
	c, err := readAttestation(given, payload, now)
	if err != nil {
		return contents{}, err
	}
	m, err := export.Read(payload)
	if err != nil {
		return contents{}, fieldErrorf(FieldPayload, "%s", err)
	}
	c.statement.Category, c.statement.Checked = intoto.RecordedBy, true
	itself := entry.Hash(sha256.Sum256(payload))
	c.subjects = append(slices.Clip(c.subjects), entry.Subject{Name: m.ExportID, Digest: map[string]string{"sha256": itself.String()}})
	c.attributes = map[string]string{"name": m.ExportID, "created": m.Created, "files": strconv.Itoa(len(m.Files))}
	number(c.attributes, "region", m.Places())
	number(c.attributes, "license", m.Licenses())
	if m.Privacy != nil {
		maps.Copy(c.attributes, m.Privacy.Attributes())
	}
	return c, nil
}

// maxNumbered is the number of values of an attribute.
const maxNumbered = 64

// number adds the values of an attribute.
func number(attributes map[string]string, name string, values []string) {
	for i, v := range values[:min(len(values), maxNumbered)] {
		attributes[name+"."+strconv.Itoa(i+1)] = v
	}
}
