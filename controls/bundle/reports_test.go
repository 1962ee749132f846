package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

// version is the version of the reports, as accounts have it.
var version = fmt.Sprintf(`"reports":%d`, ReportsVersion)

// TestReports computes the reports of each bundle again, with the stream key
// and without it.
func TestReports(t *testing.T) {
	w := newWorld(t)
	for name, req := range w.requests() {
		t.Run(name, func(t *testing.T) {
			file, err := w.create(w.source(w.rig.Ledger), req)
			w.must(err)
			for _, key := range []bool{true, false} {
				r, err := w.verify(file, key)
				if err != nil {
					t.Fatalf("with the stream key %v: %v", key, err)
				}
				if r.Reports.Problem != "" || r.Complete != key {
					t.Errorf("with the stream key %v: complete %v, %+v", key, r.Complete, r.Reports)
				}
				if stated := len(r.Reports.Stated) > 0; stated != (name != "since") {
					t.Errorf("stated: %q", r.Reports.Stated)
				}
			}
		})
	}
}

// changed replaces a text in a report.
func changed(name, old, new string) func(*bundlefile.Manifest, map[string][]byte) {
	return func(_ *bundlefile.Manifest, all map[string][]byte) {
		if !bytes.Contains(all[name], []byte(old)) {
			panic(fmt.Sprintf("%s does not have %q", name, old))
		}
		all[name] = bytes.Replace(all[name], []byte(old), []byte(new), 1)
	}
}

// TestForgedReports refuses bundles whose digests are right, but whose reports
// or manifest differ from the evidence.
func TestForgedReports(t *testing.T) {
	w := newWorld(t)
	files := map[string][]byte{}
	for name, req := range w.requests() {
		var err error
		files[name], err = w.create(w.source(w.rig.Ledger), req)
		w.must(err)
	}
	results, poam, changes := bundlefile.AssessmentName("assessment-results.json"), bundlefile.AssessmentName("poam.json"), bundlefile.AssessmentName("changes.txt")
	for _, c := range []struct {
		name, bundle string
		change       func(m *bundlefile.Manifest, all map[string][]byte)
	}{
		{"a letter of the page", "release", changed(bundlefile.IndexName, "blocked", "passed")},
		{"a byte after the page", "release", func(_ *bundlefile.Manifest, all map[string][]byte) {
			all[bundlefile.IndexName] = append(all[bundlefile.IndexName], '\n')
		}},
		{"the page of another bundle", "release", func(_ *bundlefile.Manifest, all map[string][]byte) {
			_, others := contentOf(t, files["subject"])
			all[bundlefile.IndexName] = others[bundlefile.IndexName]
		}},
		{"a result", "release", changed(results, `"not-satisfied"`, `"satisfied"`)},
		{"a deviation", "since", changed(poam, "EXC-17", "EXC-18")},
		{"a change", "release", changed(changes, "left-pad", "right-pad")},
		{"no changes", "release", func(_ *bundlefile.Manifest, all map[string][]byte) { delete(all, changes) }},
		{"another document", "release", func(_ *bundlefile.Manifest, all map[string][]byte) {
			all[bundlefile.AssessmentName("approval.txt")] = []byte("approved\n")
		}},
		{"an account of nothing", "subject", func(_ *bundlefile.Manifest, all map[string][]byte) {
			all[accountName] = []byte(`{"mediaType":"` + bundlefile.AccountMediaType + `",` + version + "}\n")
		}},
		{"an account of what the evidence decides", "since", changed(accountName, version, version+`,"stated":[{"environment":"production","type":"image","digest":{"sha256":"aa"}}]`)},
		{"another gap in the account", "subject", changed(accountName, `"}}`, `"},"gap":"excepted"}`)},
		{"another artifact in the account", "subject", changed(accountName, `"environment":"production"`, `"environment":"staging"`)},
		{"an account that is none", "subject", changed(accountName, `{`, `[`)},
		{"another time", "release", func(m *bundlefile.Manifest, _ map[string][]byte) { m.Time += 1000 * 86400 * 30 }},
		{"an artifact less", "release", func(m *bundlefile.Manifest, _ map[string][]byte) { m.Artifacts = m.Artifacts[1:] }},
		{"another name of an artifact", "release", func(m *bundlefile.Manifest, _ map[string][]byte) { m.Artifacts[0].Name += "x" }},
		{"another release", "release", func(m *bundlefile.Manifest, _ map[string][]byte) { m.Selection.Release = "gateway 1.8.0" }},
		{"another previous release", "release", func(m *bundlefile.Manifest, _ map[string][]byte) { m.Selection.Previous = "gateway 1.7.0" }},
		{"no previous release", "release", func(m *bundlefile.Manifest, _ map[string][]byte) { m.Selection.Previous = "" }},
		{"a later beginning", "compared", func(m *bundlefile.Manifest, _ map[string][]byte) { *m.Since += 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.verify(rewrite(t, files[c.bundle], c.change), true)
			var e *bundlefile.Error
			if !errors.As(err, &e) || e.Code != bundlefile.ReportMismatch || e.Step != 11 {
				t.Errorf("error %v, want %s", err, bundlefile.ReportMismatch)
			}
		})
	}
}

// TestOtherVersions does not compute reports of another version or without an
// account.
func TestOtherVersions(t *testing.T) {
	w := newWorld(t)
	file, err := w.create(w.source(w.rig.Ledger), w.requests()["release"])
	w.must(err)
	for name, change := range map[string]func(*bundlefile.Manifest, map[string][]byte){
		"version 999": changed(accountName, version, `"reports":999`),
		"no account":  func(_ *bundlefile.Manifest, all map[string][]byte) { delete(all, accountName) },
	} {
		r, err := w.verify(rewrite(t, file, change), true)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Reports.Problem == "" {
			t.Errorf("%s: the reports count as compared", name)
		}
	}
}

// TestSameBytes creates bundles of one state by servers that have started at
// different times, and by replicas, while the log grows.
func TestSameBytes(t *testing.T) {
	w := newWorld(t)
	size := w.rig.Ledger.Published().Size
	long := w.source(w.rig.Ledger) // a server that runs all the time
	first := w.export(0)
	early := w.replica(first)
	want := map[string][]byte{}
	for name, req := range w.requests() {
		req.Size = size
		file, err := w.create(long, req)
		w.must(err)
		want[name] = file
	}
	w.grow()
	later := w.replica(first, w.export(size))
	for what, src := range map[string]*Source{"the same server": long, "another server": w.source(w.rig.Ledger), "a replica of that size": w.source(early), "a replica that has grown": w.source(later)} {
		for name, req := range w.requests() {
			req.Size = size
			file, err := w.create(src, req)
			if err != nil {
				t.Errorf("%s, %s: %v", what, name, err)
				continue
			}
			if !bytes.Equal(file, want[name]) {
				t.Errorf("%s, %s: other bytes of the same state, the first in %s", what, name, differing(t, file, want[name]))
			}
		}
	}
}

// grow appends what changes the present, but not the past.
func (w *world) grow() {
	w.rig.Pass(time.Hour)
	w.inventory("1.6.2", w.sel.Artifacts[1:])
	w.inventory("1.8.0", w.sel.Artifacts[:1])
	w.rig.Erase(w.note, "not needed")
	w.rig.Story()
}

// differing returns the first member that differs.
func differing(t *testing.T, a, b []byte) string {
	_, x := contentOf(t, a)
	_, y := contentOf(t, b)
	for _, name := range sortedKeys(x) {
		if !bytes.Equal(x[name], y[name]) {
			return name
		}
	}
	return "the manifest"
}

// TestErasedLater refuses a bundle of the past that would need what is erased.
func TestErasedLater(t *testing.T) {
	w := newWorld(t)
	size := w.rig.Ledger.Published().Size
	file, err := w.create(w.source(w.rig.Ledger), w.requests()["release"])
	w.must(err)
	var index uint64
	m, _ := contentOf(t, file)
	for _, one := range m.Members {
		if one.Role == bundlefile.RolePayload {
			fmt.Sscanf(one.Name, "evidence/%d.", &index)
			e, err := w.rig.Ledger.Entry(t.Context(), w.rig.Stream, index)
			w.must(err)
			if e.Header.Kind == kindname.Attestation {
				break
			}
		}
	}
	w.rig.Erase(index, "a customer's name")
	for _, at := range []uint64{size, 0} {
		req := w.requests()["release"]
		req.Size = at
		_, err := w.create(w.source(w.rig.Ledger), req)
		if at == 0 {
			w.must(err)
		} else if !errors.Is(err, ledger.ErrErased) {
			t.Errorf("entry %d, size %d: %v, want %v", index, at, err, ledger.ErrErased)
		}
	}
}

// TestKinds checks that a bundle has the payloads of events, which its page
// shows.
func TestKinds(t *testing.T) {
	w := newWorld(t)
	file, err := w.create(w.source(w.rig.Ledger), w.requests()["release"])
	w.must(err)
	_, all := contentOf(t, file)
	counts := map[string]int{}
	for name := range all {
		var index uint64
		if n, _ := fmt.Sscanf(name, "evidence/%d.", &index); n == 1 && strings.Contains(name, ".payload") {
			e, err := w.rig.Ledger.Entry(t.Context(), w.rig.Stream, index)
			w.must(err)
			counts[e.Header.Kind]++
			p, err := w.rig.Ledger.Payload(t.Context(), e)
			w.must(err)
			if !bytes.Equal(p.Content, all[name]) {
				t.Errorf("%s: other bytes than the payload of entry %d", name, index)
			}
		}
	}
	for kind, want := range map[string]int{kindname.BackfillCheckpoint: 4, kindname.TriageAction: 1, kindname.MetricSnapshot: 1, kindname.VerificationReport: 1, kindname.Inventory: 5, kindname.GateDecision: 6} {
		if counts[kind] != want {
			t.Errorf("%d payloads of kind %s, want %d", counts[kind], kind, want)
		}
	}
	page := string(all[bundlefile.IndexName])
	for _, text := range []string{"orders.customer_region", "INC-204", "latency_p99", "muniment-python"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not have %q", text)
		}
	}
}
