package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"muniment.dev/muniment/controls/report/reportrig"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

var update = flag.Bool("update", false, "write the vectors")

const vectorsFile = "../../docs/spec/vectors/bundle-reports.json"

// A vectors file has the form of docs/spec/bundle.md, section 8.
type vectors struct {
	Policies   map[string]string `json:"policies"`
	StreamKeys map[string]string `json:"streamKeys"`
	Bundles    map[string][]byte `json:"bundles"`
	Cases      []vector          `json:"cases"`
}

type vector struct {
	Name      string   `json:"name"`
	Bundle    string   `json:"bundle"`
	Edits     []edit   `json:"edits,omitempty"`
	Policies  []string `json:"policies"`
	StreamKey string   `json:"streamKey,omitempty"`
	Verdict   string   `json:"verdict"`
	Reason    string   `json:"reason,omitempty"`
	Report    *numbers `json:"report,omitempty"`
}

type edit struct {
	At     int    `json:"at"`
	Remove int    `json:"remove"`
	Insert []byte `json:"insert"`
}

type numbers struct {
	Identity string `json:"identity"`
	Origin   string `json:"origin"`
	Tenant   string `json:"tenant"`
	Size     uint64 `json:"size"`
	Entries  uint64 `json:"entries"`
	Included uint64 `json:"included"`
	Omitted  uint64 `json:"omitted"`
	Erased   uint64 `json:"erased"`
	Complete bool   `json:"complete"`

	Warnings []bundlefile.Warning `json:"warnings"`
}

func numbersOf(r *bundlefile.Report) *numbers {
	return &numbers{r.Identity, r.Origin, r.Tenant, r.Size, r.Entries, r.Included, r.Omitted, uint64(len(r.Erased)), r.Complete, r.Warnings}
}

// editsOf returns the edits that make one file of another of the same size.
func editsOf(from, to []byte) (all []edit) {
	for i := 0; i < len(from); {
		if from[i] == to[i] {
			i++
			continue
		}
		end := i + 1 // of a run with gaps of less than 16 equal bytes
		for k := end; k < len(from) && k < end+16; k++ {
			if from[k] != to[k] {
				end = k + 1
			}
		}
		all = append(all, edit{i, end - i, to[i:end]})
		i = end
	}
	return all
}

func (v *vector) file(from []byte) []byte {
	var out []byte
	at := 0
	for _, e := range v.Edits {
		out = append(append(out, from[at:e.At]...), e.Insert...)
		at = e.At + e.Remove
	}
	return append(out, from[at:]...)
}

// forgeries change a report without changing its size.
var forgeries = []struct{ name, member, old, new string }{
	{"another outcome on the page", bundlefile.IndexName, "blocked", "passed!"},
	{"another result in OSCAL", bundlefile.AssessmentName("assessment-results.json"), `"not-satisfied"`, `"yes-satisfied"`},
	{"another exception in the plan of action", bundlefile.AssessmentName("poam.json"), "EXC-17", "EXC-18"},
	{"another change", bundlefile.AssessmentName("changes.txt"), "left-pad", "leaf-pad"},
	{"another environment in the account", accountName, `"production"`, `"preduction"`},
}

func writeVectors(t *testing.T) {
	w := newWorld(t)
	file, err := w.create(w.source(w.rig.Ledger), w.requests()["release"])
	w.must(err)
	v := vectors{Policies: map[string]string{"log": w.rig.Policy.Text()}, StreamKeys: map[string]string{"acme": string(w.rig.Stream.Key.File())}, Bundles: map[string][]byte{"release": file}}
	for _, key := range []string{"acme", ""} {
		r, err := w.verify(file, key != "")
		w.must(err)
		v.Cases = append(v.Cases, vector{Name: strings.TrimSuffix("good, stream key "+key, " "), Bundle: "release", Policies: []string{"log"}, StreamKey: key, Verdict: "verified", Report: numbersOf(r)})
	}
	later := rewrite(t, file, changed(accountName, version, `"reports":9`))
	r, err := w.verify(later, true)
	w.must(err)
	v.Cases = append(v.Cases, vector{Name: "reports of another version", Bundle: "release", Edits: editsOf(file, later), Policies: []string{"log"}, StreamKey: "acme", Verdict: "verified", Report: numbersOf(r)})
	for _, f := range forgeries {
		bad := rewrite(t, file, changed(f.member, f.old, f.new))
		if len(bad) != len(file) {
			t.Fatalf("%s: another size", f.name)
		}
		v.Cases = append(v.Cases, vector{Name: f.name, Bundle: "release", Edits: editsOf(file, bad), Policies: []string{"log"}, StreamKey: "acme", Verdict: "refused", Reason: string(bundlefile.ReportMismatch)})
	}
	text, err := json.MarshalIndent(v, "", " ")
	w.must(err)
	w.must(os.WriteFile(vectorsFile, append(text, '\n'), 0o644))
}

// TestVectors verifies the vectors. If it fails because the reports of this
// program have changed, increase ReportsVersion and run it with -update.
func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	text, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	v := &vectors{}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
	policy, err := receipt.ParseTrustPolicy("log", []byte(v.Policies["log"]))
	if err != nil {
		t.Fatal(err)
	}
	key, err := entry.ParseStreamKey([]byte(v.StreamKeys["acme"]))
	if err != nil {
		t.Fatal(err)
	}
	for i := range v.Cases {
		c := &v.Cases[i]
		r, err := verifyAgain(t, c.file(v.Bundles[c.Bundle]), policy, ledger.NewStream(*key), c.StreamKey != "")
		code := ""
		var e *bundlefile.Error
		switch {
		case errors.As(err, &e):
			code = string(e.Code)
		case err != nil:
			t.Fatal(err)
		case !reflect.DeepEqual(numbersOf(r), c.Report):
			t.Errorf("%s: %+v, %+v", c.Name, numbersOf(r), r.Reports)
		}
		if code != c.Reason {
			t.Errorf("%s: %v, want %q", c.Name, err, c.Reason)
		}
	}
	if _, all := contentOf(t, v.Bundles["release"]); !bytes.Contains(all[accountName], []byte(version)) {
		t.Errorf("the vectors are not those of version %d", ReportsVersion)
	}
	if reportrig.Origin != v.Cases[0].Report.Origin {
		t.Errorf("the vectors are about the log %s", v.Cases[0].Report.Origin)
	}
}
