package intoto

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers"
)

// The predicate that cosign makes for each short type name conforms to the
// type's definition.
func TestTypesOfCosign(t *testing.T) {
	cosign, dir := peers.Path(t, "cosign"), t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), cosign, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "COSIGN_PASSWORD=", "HOME="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("sc.json", `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}`)
	write("a.txt", "hello\n")
	run("generate-key-pair")
	predicates := map[string]string{
		"link": `{"_type":"link","name":"build","materials":{"main.go":{"sha256":"cc"}},"products":{"app":{"sha256":"dd"}},"byproducts":{},"command":["make"],"environment":{}}`,
		"spdx": "SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n",
	}
	for short, name := range map[string]string{"slsaprovenance1": "SLSA provenance v1", "slsaprovenance02": "SLSA provenance v0.2", "spdxjson": "SPDX 2.3", "cyclonedx": "CycloneDX", "vuln": "cosign vuln", "openvex": "OpenVEX"} {
		for _, d := range definitions {
			if d.name == name {
				predicates[short] = d.predicate
			}
		}
	}
	for short, predicate := range predicates {
		write("p", predicate)
		run("attest-blob", "--yes", "--key", "cosign.key", "--signing-config", "sc.json", "--type", short, "--predicate", "p", "--bundle", short+".json", "a.txt")
		data, err := os.ReadFile(filepath.Join(dir, short+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var bundle struct {
			Envelope struct {
				Payload []byte `json:"payload"`
			} `json:"dsseEnvelope"`
		}
		if err := json.Unmarshal(data, &bundle); err != nil {
			t.Fatal(err)
		}
		s, err := Parse(bundle.Envelope.Payload)
		if err != nil {
			t.Errorf("%s: %v\n%s", short, err, bundle.Envelope.Payload)
			continue
		}
		if !s.Checked || s.Category == AttestedBy {
			t.Errorf("%s: the type %s is not checked", short, s.PredicateType)
		}
		if strings.HasPrefix(short, "slsa") || short == "link" || short == "cyclonedx" || short == "spdxjson" {
			if len(s.Materials) == 0 {
				t.Errorf("%s: no materials in %s", short, bundle.Envelope.Payload)
			}
		}
	}
}
