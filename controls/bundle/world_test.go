package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/report"
	"muniment.dev/muniment/controls/report/reportrig"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store/memstore"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/facts"
)

// A world is the story of a release in a ledger, with inventories of two
// versions of it.
type world struct {
	t    *testing.T
	rig  *reportrig.Rig
	sel  *report.Selection
	note uint64 // an entry before all others, which only bundles of everything contain
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, rig: reportrig.New(memstore.New())}
	t.Cleanup(w.rig.Close)
	w.note = w.rig.Append(reportrig.Note(), []byte("{}"), nil)
	w.rig.Pass(time.Minute)
	w.sel = w.rig.Story()
	w.inventory("1.6.2", w.sel.Previous.Artifacts)
	w.rig.Pass(time.Minute)
	w.inventory("1.7.0", w.sel.Artifacts)
	old := w.sel.Previous.Artifacts[1] // which still runs; its evidence is not in bundles of 1.7.0
	w.rig.Record(kindname.Inventory, &munimentv1.Inventory{Scope: "runs", Environment: "production", Source: "cluster eu-2", Observed: timestamppb.New(w.rig.Time()), Items: []*munimentv1.InventoryItem{
		{Type: old.Type, Artifact: &munimentv1.Artifact{Name: old.Name, Digest: old.Digest}}}}, "token:inventory")
	return w
}

// inventory records what a version of the release consists of.
func (w *world) inventory(version string, artifacts []decide.Artifact) uint64 {
	m := &munimentv1.Inventory{Scope: "exists", Environment: "production", Source: "release gateway", Release: "gateway", Version: version, Observed: timestamppb.New(w.rig.Time())}
	for _, a := range artifacts {
		m.Items = append(m.Items, &munimentv1.InventoryItem{Type: a.Type, Artifact: &munimentv1.Artifact{Name: a.Name, Digest: a.Digest}})
	}
	return w.rig.Record(kindname.Inventory, m, "token:inventory")
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// requests are the selections that the tests create bundles of.
func (w *world) requests() map[string]*Request {
	return map[string]*Request{
		"release":  {Release: "gateway 1.7.0", Previous: "gateway 1.6.2", Since: w.sel.Since},
		"compared": {Release: "1.7.0", Previous: "gateway 1.6.2"},
		"subjects": {Artifacts: w.sel.Artifacts[:2]},
		"subject":  {Artifacts: w.sel.Artifacts[:1], Since: w.sel.Since},
		"since":    {Since: reportrig.Start.Add(time.Minute)},
	}
}

// source returns a source that reads a log or replica, as a server that has
// just started.
func (w *world) source(l *ledger.Ledger) *Source {
	d := &decide.Decider{Log: l, Facts: decide.StoredFacts{Log: l}, Exceptions: &exception.Projection{Log: l, Now: w.rig.Time}, Now: w.rig.Time}
	return &Source{Ledger: l, Stream: w.rig.Stream, Tenant: reportrig.Tenant, Decider: d, Policy: w.rig.Policy}
}

// create creates a bundle.
func (w *world) create(src *Source, req *Request) ([]byte, error) {
	var out bytes.Buffer
	_, err := Create(context.Background(), &out, src, req)
	return out.Bytes(), err
}

// verify verifies a bundle and computes its reports again, with the stream key
// or without it.
func (w *world) verify(file []byte, key bool) (*bundlefile.Report, error) {
	return verifyAgain(w.t, file, w.rig.Policy, w.rig.Stream, key)
}

func verifyAgain(t *testing.T, file []byte, policy *receipt.TrustPolicy, stream *ledger.Stream, key bool) (*bundlefile.Report, error) {
	o := bundlefile.Options{}
	var streams []*ledger.Stream
	if key {
		o.StreamKey, streams = &stream.Key, []*ledger.Stream{stream}
	}
	o.Reports = func(ctx context.Context, b *bundlefile.Bundle, accepted *receipt.TrustPolicy) (*bundlefile.Reports, error) {
		s := memstore.NewRaw()
		open := func() (ledger.Growth, error) { return OpenGrowth(ctx, b) }
		if _, err := ledger.ImportGrowth(ctx, s, open, ledger.ImportOptions{Policy: accepted, Streams: streams, Derive: facts.Derive}); err != nil {
			return nil, err
		}
		l, err := ledger.OpenReplica(ctx, ledger.Config{Store: s, Logger: slog.New(slog.DiscardHandler)}, accepted)
		if err != nil {
			return nil, err
		}
		t.Cleanup(l.Close)
		log, err := NewLog(ctx, l, b)
		if err != nil {
			return nil, err
		}
		return Recompute(ctx, b, log)
	}
	_, r, err := bundlefile.Verify(context.Background(), bytes.NewReader(file), int64(len(file)), []*receipt.TrustPolicy{policy}, o)
	return r, err
}

// replica returns a replica that has imported deltas.
func (w *world) replica(deltas ...[]byte) *ledger.Ledger {
	w.t.Helper()
	s := memstore.NewRaw()
	for _, delta := range deltas {
		_, err := ledger.Import(context.Background(), s, bytes.NewReader(delta), int64(len(delta)), ledger.ImportOptions{Policy: w.rig.Policy, Streams: []*ledger.Stream{w.rig.Stream}, Derive: facts.Derive})
		w.must(err)
	}
	l, err := ledger.OpenReplica(context.Background(), ledger.Config{Store: s, Logger: slog.New(slog.DiscardHandler)}, w.rig.Policy)
	w.must(err)
	w.t.Cleanup(l.Close)
	return l
}

// export returns the delta since a size.
func (w *world) export(since uint64) []byte {
	w.t.Helper()
	var delta bytes.Buffer
	_, err := w.rig.Ledger.Export(context.Background(), &delta, since, []*ledger.Stream{w.rig.Stream}, nil)
	w.must(err)
	return delta.Bytes()
}

// contentOf returns the members of a bundle.
func contentOf(t *testing.T, file []byte) (*bundlefile.Manifest, map[string][]byte) {
	t.Helper()
	b, err := bundlefile.Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, m := range b.Manifest.Members {
		if all[m.Name], err = io.ReadAll(b.Open(m.Name)); err != nil {
			t.Fatal(err)
		}
	}
	return b.Manifest, all
}

// rewrite returns a bundle with other members or another manifest, whose
// digests are right.
func rewrite(t *testing.T, file []byte, change func(m *bundlefile.Manifest, all map[string][]byte)) []byte {
	t.Helper()
	m, all := contentOf(t, file)
	roles := map[string]bundlefile.Role{}
	for _, one := range m.Members {
		roles[one.Name] = one.Role
	}
	change(m, all)
	var out bytes.Buffer
	w := bundlefile.NewWriter(&out)
	add := func(name string, content []byte) {
		err := w.Next(name, int64(len(content)))
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m.Members = nil
	for _, name := range slices.Sorted(maps.Keys(all)) {
		role := roles[name]
		if role == "" {
			role = bundlefile.RoleReport
		}
		add(name, all[name])
		m.Members = append(m.Members, bundlefile.Member{Name: name, Role: role, Size: int64(len(all[name])), SHA256: sha256.Sum256(all[name])})
	}
	text, err := m.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	add(bundlefile.ManifestName, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
