package prove

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"muniment.dev/muniment/verifiers/dsse"
)

// TestKeys runs the shared vectors of public keys through each flag of the
// verifiers that names one.
func TestKeys(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/spec/vectors/keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name      string
		KeyBase64 []byte
		Verdict   string
		KeyID     string
	}
	if err := json.Unmarshal(text, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	readers := map[string]func(path string) ([]*dsse.Key, error){
		"export-manifest verify": func(path string) ([]*dsse.Key, error) {
			o, err := (&manifestTrust{Key: []string{path}}).options()
			return o.Keys, err
		},
		"verify-bundle":   func(path string) ([]*dsse.Key, error) { return (&signerFlags{Key: &path}).keys() },
		"verify-envelope": func(path string) ([]*dsse.Key, error) { return readKeys([]string{path}) },
	}
	path := filepath.Join(t.TempDir(), "key.pub")
	for _, c := range cases {
		if err := os.WriteFile(path, c.KeyBase64, 0o600); err != nil {
			t.Fatal(err)
		}
		for command, read := range readers {
			keys, err := read(path)
			switch {
			case (err == nil) != (c.Verdict == "accept"):
				t.Errorf("%s: %s: %v, want %s", command, c.Name, err, c.Verdict)
			case err == nil && (len(keys) != 1 || keys[0].ID != c.KeyID):
				t.Errorf("%s: %s: %v, want %s", command, c.Name, keys, c.KeyID)
			}
		}
	}
}
