package export

import (
	"bytes"
	"testing"

	"muniment.dev/muniment/ledger/receipt"
)

// A sizeVector is an input at a limit, as in limits.json.
type sizeVector struct {
	Name   string `json:"name"`
	Target string `json:"target"` // manifest or receipt
	Prefix []byte `json:"prefixBase64"`
	Fill   string `json:"fill"`
	Count  int    `json:"count"`
	Suffix []byte `json:"suffixBase64"`
	Reason string `json:"reason,omitempty"`
}

func (v *sizeVector) bytes() []byte {
	return append(append(bytes.Clone(v.Prefix), bytes.Repeat([]byte(v.Fill), v.Count)...), v.Suffix...)
}

// TestSizeVectors verifies inputs at the limits of their sizes.
func TestSizeVectors(t *testing.T) {
	file := signed(t, newManifest(t))
	log := newLog(t, logItems(t, file, newManifest(t)))
	policy, err := receipt.ParseTrustPolicy("log", []byte(testPolicies(t)["log"]))
	if err != nil {
		t.Fatal(err)
	}
	room := MaxSize - len(file)
	all := []sizeVector{
		{Name: "a manifest at the limit", Target: "manifest", Fill: " ", Count: room, Suffix: file},
		{Name: "a manifest beyond the limit", Target: "manifest", Fill: " ", Count: room + 1, Suffix: file, Reason: string(ManifestMalformed)},
		{Name: "a manifest of 1 GiB", Target: "manifest", Fill: " ", Count: 1 << 30, Suffix: file, Reason: string(ManifestMalformed)},
		{Name: "nested deep", Target: "manifest", Prefix: []byte(`{"a":`), Fill: "[", Count: 1 << 16, Suffix: []byte{}, Reason: string(ManifestMalformed)},
		{Name: "many escapes", Target: "manifest", Prefix: []byte(`{"a":"`), Fill: "\\u0061", Count: 1 << 16, Suffix: []byte(`"}`), Reason: string(ManifestMalformed)},
		{Name: "many digits", Target: "manifest", Prefix: []byte(`{"a":`), Fill: "9", Count: 1 << 19, Suffix: []byte(`}`), Reason: string(ManifestMalformed)},
		{Name: "many values", Target: "manifest", Prefix: []byte(`{"a":[0`), Fill: ",0", Count: 1<<19 - 8, Suffix: []byte(`]}`), Reason: string(ManifestMalformed)},
		{Name: "a receipt at the limit", Target: "receipt", Fill: " ", Count: MaxReceipt - len(log.receipt), Suffix: log.receipt},
		{Name: "a receipt beyond the limit", Target: "receipt", Fill: " ", Count: MaxReceipt - len(log.receipt) + 1, Suffix: log.receipt, Reason: string(Unreadable)},
		{Name: "a receipt of 1 GiB", Target: "receipt", Fill: " ", Count: 1 << 30, Suffix: log.receipt, Reason: string(Unreadable)},
	}
	for i := range all {
		v := &all[i]
		if v.Prefix == nil {
			v.Prefix = []byte{}
		}
		short := *v
		short.Count = min(v.Count, MaxReceipt+1) // readers of files stop one byte after the limit
		input, o := file, Options{Keys: exporterKeys(t)}
		if v.Target == "receipt" {
			o.Receipt, o.Policies = short.bytes(), []*receipt.TrustPolicy{policy}
		} else {
			input = short.bytes()
		}
		if _, err := Verify(t.Context(), input, o); string(codeOf(err)) != v.Reason {
			t.Errorf("%s: %v, want %q", v.Name, err, v.Reason)
		}
	}
	compare(t, "export-sizes.json", all)
}
