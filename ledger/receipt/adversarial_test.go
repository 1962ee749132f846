package receipt

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// TestAdversarialVectors runs the cases in which the specification is likely
// to be misread. They are made by another verifier, from the text alone.
func TestAdversarialVectors(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(vectorDir, "adversarial.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v receiptVectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	var raw struct {
		Cases []struct {
			Report map[string]any `json:"report"`
		} `json:"cases"`
	}
	if err := exactJSON(data, &raw); err != nil {
		t.Fatal(err)
	}
	for i, c := range v.Cases {
		t.Run(c.Name, func(t *testing.T) {
			s, err := v.verify(t, c)
			r := NewReport("", s, err)
			var code Code
			if r.Reason != nil {
				code = r.Reason.Code
			}
			if r.Verdict != c.Verdict || code != c.Reason {
				t.Fatalf("%s %s, want %s %s (%v)", r.Verdict, code, c.Verdict, c.Reason, err)
			}
			if err != nil {
				return
			}
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := exactJSON(text, &got); err != nil {
				t.Fatal(err)
			}
			for _, member := range []string{"proven", "claimed", "content", "warnings"} {
				if want := raw.Cases[i].Report[member]; !reflect.DeepEqual(got[member], want) {
					t.Errorf("%s is %v, want %v", member, got[member], want)
				}
			}
		})
	}
}

// exactJSON decodes integers above 2^53 without loss.
func exactJSON(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(v)
}
