package export

import (
	"bytes"
	"testing"
)

// A sizeVector is a manifest beyond a limit, as in limits.json.
type sizeVector struct {
	Name   string `json:"name"`
	Prefix []byte `json:"prefixBase64"`
	Fill   string `json:"fill"`
	Count  int    `json:"count"`
	Suffix []byte `json:"suffixBase64"`
	Reason string `json:"reason,omitempty"`
}

func (v *sizeVector) bytes() []byte {
	return append(append(bytes.Clone(v.Prefix), bytes.Repeat([]byte(v.Fill), v.Count)...), v.Suffix...)
}

// TestSizeVectors verifies manifests at the limit of the file's size.
func TestSizeVectors(t *testing.T) {
	file := signed(t, newManifest(t))
	room := MaxSize - len(file)
	all := []sizeVector{
		{Name: "at the limit", Fill: " ", Count: room, Suffix: file},
		{Name: "beyond the limit", Fill: " ", Count: room + 1, Suffix: file, Reason: string(ManifestMalformed)},
		{Name: "far beyond the limit", Fill: " ", Count: 1 << 30, Suffix: file, Reason: string(ManifestMalformed)},
		{Name: "nested deep", Prefix: []byte(`{"a":`), Fill: "[", Count: 1 << 16, Reason: string(ManifestMalformed)},
		{Name: "many names", Prefix: []byte(`{"a":"`), Fill: "\\u0061", Count: 1 << 16, Suffix: []byte(`"}`), Reason: string(ManifestMalformed)},
	}
	for i := range all {
		v := &all[i]
		if v.Count > MaxSize {
			continue // readers of files stop at the limit
		}
		if _, err := Verify(t.Context(), v.bytes(), Options{Keys: exporterKeys(t)}); string(codeOf(err)) != v.Reason {
			t.Errorf("%s: %v, want %q", v.Name, err, v.Reason)
		}
	}
	compare(t, "export-sizes.json", all)
}
