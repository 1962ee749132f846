package receipt

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type limitVectors struct {
	Policy string       `json:"policy"`
	Cases  []*limitCase `json:"cases"`
}

// A limitCase is an input that is too long to be stored: Fill is repeated Count
// times between prefix and suffix.
type limitCase struct {
	Name    string `json:"name"`
	Target  string `json:"target"`
	Prefix  []byte `json:"prefixBase64"`
	Fill    string `json:"fill"`
	Count   int    `json:"count"`
	Suffix  []byte `json:"suffixBase64"`
	Verdict string `json:"verdict"`
	Reason  Code   `json:"reason,omitempty"`
}

func (c *limitCase) input() []byte {
	return bytes.Join([][]byte{c.Prefix, bytes.Repeat([]byte(c.Fill), c.Count), c.Suffix}, nil)
}

// TestLimitVectors generates and runs the cases at the size limits of
// docs/spec/receipt.md.
func TestLimitVectors(t *testing.T) {
	v := makeLimitVectors(t)
	golden(t, "limits.json", v)
	policy, err := ParseTrustPolicy("log", []byte(v.Policy))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range v.Cases {
		t.Run(c.Name, func(t *testing.T) {
			var err error
			if c.Target == "policy" {
				_, err = ParseTrustPolicy("p", c.input())
			} else {
				_, err = Verify(c.input(), []*TrustPolicy{policy}, Options{})
			}
			var code Code
			if e, ok := errors.AsType[*Error](err); ok {
				code = e.Code
			}
			if code != c.Reason {
				t.Fatalf("%v, want the code %q", err, c.Reason)
			}
		})
	}
}

func makeLimitVectors(t *testing.T) *limitVectors {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(vectorDir, "receipts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all receiptVectors
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	full, err := base64.StdEncoding.DecodeString(all.Cases[0].Receipt)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(full)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParseProof(string(r.Proof))
	if err != nil {
		t.Fatal(err)
	}
	v := &limitVectors{Policy: all.Policies["log"]}

	v.add("policy of 1,048,576 octets", "policy", v.Policy+"#", "x", 1<<20-len(v.Policy)-2, "\n", "")
	v.add("policy of 1,048,577 octets", "policy", v.Policy+"#", "x", 1<<20-len(v.Policy)-1, "\n", PolicyMalformed)

	// A line by an unknown key, whose name fills the checkpoint.
	start, end := `\n\n— `, ` AAAAAAA=\n— `
	before, after, _ := strings.Cut(string(full), `\n\n— `)
	room := MaxCheckpointSize - len(p.Checkpoint) - len("—  AAAAAAA=\n")
	v.add("checkpoint of 258,048 bytes", "receipt", before+start, "x", room, end+after, "")
	v.add("checkpoint of 258,049 bytes", "receipt", before+start, "x", room+1, end+after, ProofMalformed)
	v.add("checkpoint of fewer characters, but more bytes", "receipt", before+start, "é", room/2+1, end+after, ProofMalformed)

	before, after, _ = strings.Cut(string(full), `token:globex`)
	room = 1<<20 - len(r.Header.Content)
	v.add("header of 1,048,576 bytes", "receipt", before, "x", room+len("token:globex"), after, Inclusion)
	v.add("header of 1,048,577 bytes", "receipt", before, "x", room+len("token:globex")+1, after, HeaderMalformed)
	v.add("header of fewer characters, but more bytes", "receipt", before, "é", (room+len("token:globex"))/2+1, after, HeaderMalformed)
	return v
}

func (v *limitVectors) add(name, target, prefix, fill string, count int, suffix string, reason Code) {
	verdict := map[bool]string{true: "accept", false: "refuse"}[reason == ""]
	if target == "receipt" {
		verdict = map[bool]string{true: VerdictVerified, false: VerdictRefused}[reason == ""]
	}
	v.Cases = append(v.Cases, &limitCase{name, target, []byte(prefix), fill, count, []byte(suffix), verdict, reason})
}
