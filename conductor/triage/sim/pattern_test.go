package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// digests pins the patterns. They are held out: a pattern that turned out to
// be hard is a result, and no reason to edit it.
var digests = map[string]string{
	"cache-feedback-loop.json": "752b13625331ee1d7abf24c939eec48cd9f4552740026779b50cd3696426cb63",
	"cache-node-herd.json":     "0567b2994a20a6f4a6a2f8833d108f7486d65d95e2004c8f17dce80b5570984f",
	"edge-rules-regex.json":    "044cd88e3e559334c611fa31c60a315c56a01d2b78e35902be3586c60c465563",
	"flapping-threshold.json":  "2ae0f1ab4bec219d3af291a46df53d67dc42a7dc9f1d148c7809649a6c33d943",
	"outlived-protection.json": "782336d09c0f61392a0a805e242bde55f55fb2cf374451e8f29188c6ad71c4ee",
	"pages-of-others.json":     "b7162f86e066aa4cf44db1c4c3bbe57034fa17206148b521bfb243a9848d3120",
	"quota-policy-crash.json":  "7f844958e39cfdd62bbfb26e18f5e62b0ee4b02ef9366d2f42cf794c7c722b90",
	"rolling-deployment.json":  "d8bc360f40afc43ebafea47f1063b1ee897624c81a6000bdee7d538c134e82c1",
	"short-partition.json":     "f7888c719919e16231212b1819e15167a7952a4762b64f49c15e67c7f8447376",
	"slow-replica.json":        "9ee0c8562dee86080d30bf81117e9a79da2e6441757725e2e5b6bc48746a0843",
}

func TestPatternsAreHeldOut(t *testing.T) {
	entries, err := files.ReadDir("patterns")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(digests) {
		t.Errorf("%d patterns, pinned are %d", len(entries), len(digests))
	}
	for _, entry := range entries {
		text, err := files.ReadFile("patterns/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(text)
		if got := hex.EncodeToString(sum[:]); got != digests[entry.Name()] {
			t.Errorf("%s has the digest %s: patterns must not be edited", entry.Name(), got)
		}
	}
}

func TestPatterns(t *testing.T) {
	all, err := Patterns()
	if err != nil {
		t.Fatal(err)
	}
	incidents := 0
	for _, p := range all {
		if p.Truth.Incident() {
			incidents++
		}
	}
	if len(all) != 10 || incidents != 7 {
		t.Errorf("%d patterns, of which %d are incidents", len(all), incidents)
	}
}
