package verify

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry/strictjson"
	"muniment.dev/muniment/verifiers/bundle"
)

// A valuesVector is a file with about as many JSON values as are allowed. Fill
// is repeated Count times between prefix and suffix.
type valuesVector struct {
	Name          string `json:"name"`
	Configuration string `json:"configuration"` // of verify.json
	Kind          Kind   `json:"kind,omitempty"`
	Prefix        []byte `json:"prefixBase64"`
	Fill          string `json:"fill"`
	Count         int    `json:"count"`
	Suffix        []byte `json:"suffixBase64"`
	Code          string `json:"code"`
}

// makeValuesVectors returns documents of a later version, which are malformed
// if they have more values than allowed.
func makeValuesVectors(t *testing.T) (all []*valuesVector) {
	t.Helper()
	documents := []struct {
		name, configuration string
		kind                Kind
		mediaType           string
		limit               int
		within, beyond      string
	}{
		{"a receipt", "receipts", Receipt, "application/vnd.muniment.receipt.v9+json", strictjson.MaxValues, "receipt-version", "receipt-malformed"},
		{"a receipt, recognized", "receipts", "", "application/vnd.muniment.receipt.v9+json", strictjson.MaxValues, "receipt-version", "kind-unknown"},
		{"a Sigstore bundle", "keyless", SigstoreBundle, "application/vnd.dev.sigstore.bundle.v9+json", strictjson.MaxValues, "bundle-version", "bundle-malformed"},
		{"a Sigstore bundle, recognized", "keyless", "", "application/vnd.dev.sigstore.bundle.v9+json", strictjson.MaxValues, "bundle-version", "kind-unknown"},
		{"an evidence bundle", "evidence", EvidenceBundle, "application/vnd.muniment.evidence-bundle.v9+json", bundle.MaxManifestValues, "manifest-version", "manifest-malformed"},
	}
	fills := []struct {
		name, fill string
		values     int
	}{
		{"numbers", `0,`, 1},
		{"arrays in objects", `{"name":[]},`, 2},
		{"words and strings", `null,true,"",`, 3},
	}
	for i, d := range documents {
		for _, f := range fills {
			if f.values > 1 && i != 0 {
				continue
			}
			// The media type, the array of values, and those after the fill.
			count := (d.limit - 2) / f.values
			after := (d.limit - 2) % f.values
			add := func(name string, last int, code string) {
				prefix, suffix := `{"mediaType":"`+d.mediaType+`","x":[`, ``
				for range last {
					suffix += `{},`
				}
				v := &valuesVector{
					Name: d.name + " " + name + ": " + f.name, Configuration: d.configuration, Kind: d.kind,
					Prefix: []byte(prefix), Fill: f.fill, Count: count - 1, Code: code,
				}
				v.Suffix = []byte(suffix + f.fill[:len(f.fill)-1] + "]}")
				if d.kind == EvidenceBundle {
					v.archive(t)
				}
				all = append(all, v)
			}
			add("with as many values as allowed", after, d.within)
			add("with one value more", after+1, d.beyond)
		}
	}
	return all
}

// archive makes the file an archive, in which it is the manifest.
func (v *valuesVector) archive(t *testing.T) {
	t.Helper()
	document := v.bytes()
	var out bytes.Buffer
	w := bundle.NewWriter(&out)
	if err := w.Next(bundle.ManifestName, int64(len(document))); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(document); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	before, after, _ := bytes.Cut(out.Bytes(), document)
	v.Prefix, v.Suffix = append(bytes.Clone(before), v.Prefix...), append(v.Suffix, after...)
}

func (v *valuesVector) bytes() []byte {
	return bytes.Join([][]byte{v.Prefix, bytes.Repeat([]byte(v.Fill), v.Count), v.Suffix}, nil)
}

// TestJSONValues verifies documents at the limits of the number of JSON values.
func TestJSONValues(t *testing.T) {
	soak.WithoutRace(t)
	all := makeValuesVectors(t)
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	const path = vectorsFolder + "json-values.json"
	if *update {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, text) {
		t.Errorf("json-values.json is not current: run go test ./clients/go/verify -run TestJSONValues -update (%v)", err)
	}
	shared := readVectors[vectors](t, "verify.json")
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			blobs := map[string][]byte{v.Name: v.bytes()}
			for name, content := range shared.Blobs {
				blobs[name] = content
			}
			with := vectors{Blobs: blobs, Configurations: shared.Configurations}
			r := with.verify(t, &verificationCases{Name: v.Name, Configuration: v.Configuration, File: v.Name, Kind: v.Kind})
			if r.Code != v.Code {
				t.Errorf("%s (%s), want %s", r.Code, r.Message, v.Code)
			}
		})
	}
}
