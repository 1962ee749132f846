package prove

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/receipt"
)

// TestOrderOfDigests requires the same text each time: a map of Go has no
// order.
func TestOrderOfDigests(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/spec/vectors/receipts.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Policies map[string]string
		Cases    []struct {
			Name          string
			ReceiptBase64 []byte
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	policy, err := receipt.ParseTrustPolicy("log", []byte(file.Policies["log"]))
	if err != nil {
		t.Fatal(err)
	}
	policies := []*receipt.TrustPolicy{policy}
	for _, c := range file.Cases {
		if c.Name != "names of numbers, which objects of some languages sort" {
			continue
		}
		s, err := receipt.Verify(c.ReceiptBase64, policies, receipt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			var about []string
			for line := range strings.Lines(statementText("r", s, policies)) {
				if _, digest, ok := strings.Cut(line, "about "); ok {
					algorithm, _, _ := strings.Cut(strings.Trim(digest, `"`), ":")
					about = append(about, algorithm)
				}
			}
			if have := strings.Join(about, " "); have != "1 7 gitCommit sha256" {
				t.Fatalf("digests in the order %q", have)
			}
		}
		return
	}
	t.Fatal("no vector")
}
