// Package bundle creates evidence bundles from a stream.
//
// docs/spec/bundle.md specifies them, and package verifiers/bundle verifies
// them.
package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

var (
	// ErrSelection reports that a request selects nothing, or too much.
	ErrSelection = errors.New("nothing is selected")
	// ErrEarly reports a time before entries that the bundle contains.
	ErrEarly = errors.New("it is before an entry of the bundle")
)

// A Source is what bundles are created from.
type Source struct {
	Ledger  *ledger.Ledger // the log, or a replica
	Stream  *ledger.Stream
	Tenant  string
	Decider *decide.Decider
	Policy  *receipt.TrustPolicy
	// Inventories has the newest inventories. Nil: they are read.
	Inventories *inventory.Projection
}

// A Request selects what a bundle contains.
type Request struct {
	Release   string            // "": none
	Artifacts []decide.Artifact // not with Release
	Since     time.Time         // zero: none
	Previous  string            // release to compare with; "": none
	Incident  string            // of triage, without all of the above; "": none
	Size      uint64            // of the tree; 0: the latest that has a checkpoint
	Time      time.Time         // zero: that of the stream's newest entry
	// Progress is called with the entries that were read and written. It can
	// be nil.
	Progress func(done, total uint64)
}

// RequestOf returns the request of a message.
func RequestOf(m *munimentv1.CreateBundleRequest) *Request {
	r := &Request{Release: m.Release, Previous: m.Previous, Incident: m.Incident, Size: m.TreeSize}
	for _, s := range m.Artifacts {
		r.Artifacts = append(r.Artifacts, decide.ArtifactOf(s))
	}
	if m.Since != nil {
		r.Since = m.Since.AsTime()
	}
	if m.Time != nil {
		r.Time = m.Time.AsTime()
	}
	return r
}

// A Summary describes a bundle that was created.
type Summary struct {
	Identity string
	Manifest *bundlefile.Manifest
	Digest   entry.Hash // SHA-256 of the file
	Bytes    uint64     // of the file
}

// Create writes a bundle. The same state and request give the same bytes. Its
// memory grows with the number of the stream's entries by some bytes for each,
// and with the reports. Errors: ErrSelection, ErrEarly, those of
// inventory.Projection.Release and ledger.Ledger.SignedCheckpoint;
// ledger.ErrErased if an opening that the bundle needs was erased by an entry
// that it does not contain.
func Create(ctx context.Context, w io.Writer, src *Source, req *Request) (*Summary, error) {
	c := &creation{Source: src, request: req}
	for _, step := range []func(context.Context) error{c.open, c.readErasures, c.selectArtifacts, c.plan, c.report} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	c.archive = newArchive(w)
	for _, step := range []func(context.Context) error{c.writeReports, c.writeEntries, c.writeEvidence, c.writePage, c.writeLog} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return c.finish()
}

// A creation is a bundle that is being created.
type creation struct {
	*Source
	request   *Request
	published *ledger.Published
	signed    []byte // the checkpoint
	manifest  bundlefile.Manifest
	reporting *reporting
	reading   *reading // what the reports read

	headerless map[uint64]bool // entries whose header was erased below the size

	entries   []planned // of the stream, in order
	documents []document
	page      []byte
	done      uint64

	archive *archive
}

// A planned entry is one that the bundle has a record of.
type planned struct {
	index uint64
	state bundlefile.State
	json  bool // by the name of its payload
}

// payloadName returns the name of the member with the entry's payload.
func (p *planned) payloadName() string {
	if p.json {
		return bundlefile.PayloadName(p.index, "application/json")
	}
	return bundlefile.PayloadName(p.index, "")
}

// open determines the state of the log.
func (c *creation) open(ctx context.Context) error {
	var err error
	if c.signed, err = c.Ledger.SignedCheckpoint(ctx, c.request.Size); err != nil {
		return err
	}
	c.published = c.Ledger.Published()
	head, err := receipt.ParseCheckpointUnverified(c.signed)
	if err != nil {
		return fmt.Errorf("the log's checkpoint: %w", err)
	}
	if head.Size == 0 {
		return fmt.Errorf("%w: the log has no entries", ErrSelection)
	}
	c.reading = &reading{Ledger: c.Ledger, size: head.Size, erased: map[uint64]bool{}, read: map[uint64]bool{}}
	if c.Inventories == nil {
		c.Inventories = &inventory.Projection{Log: c.Ledger}
	}
	c.reporting = &reporting{manifest: &c.manifest, log: c.reading, stream: c.Stream, policy: c.Policy, exceptions: c.Decider.Exceptions, inventories: c.Inventories, coverage: c.coverage, files: c.show}
	c.manifest = bundlefile.Manifest{Origin: head.Origin, Tenant: c.Tenant, Size: head.Size, Root: head.Root, Stream: bundlefile.Stream{ID: c.Stream.ID}}
	return nil
}

// size returns the size of the tree.
func (c *creation) size() uint64 { return c.manifest.Size }

// each calls visit with each entry of the stream below the size that matches a
// filter.
func (c *creation) each(ctx context.Context, f ledger.Filter, visit func(*ledger.Entry) error) error {
	for from := uint64(0); from < c.size(); {
		e, next, err := c.Ledger.Next(ctx, c.published, c.Stream, f, from)
		if err != nil {
			return err
		}
		if e == nil || e.Index >= c.size() {
			return nil
		}
		if err := visit(e); err != nil {
			return err
		}
		from = next
	}
	return nil
}

// progress reports that an entry was read or written.
func (c *creation) progress() {
	c.done++
	if c.request.Progress != nil {
		c.request.Progress(c.done, 2*uint64(len(c.entries)))
	}
}

// finish writes the manifest.
func (c *creation) finish() (*Summary, error) {
	c.manifest.Members = c.archive.members
	text, err := c.manifest.AppendJSON(nil)
	if err != nil {
		return nil, fmt.Errorf("the manifest of the bundle: %w", err)
	}
	if len(text) > bundlefile.MaxManifestSize {
		return nil, fmt.Errorf("%w: the manifest would have %d bytes, more than %d: select less", ledger.ErrTooLarge, len(text), bundlefile.MaxManifestSize)
	}
	if err := strictjson.CheckValues(text, bundlefile.MaxManifestValues); err != nil {
		return nil, fmt.Errorf("%w: the manifest would have %w: select less", ledger.ErrTooLarge, err)
	}
	if err := c.archive.add(bundlefile.ManifestName, "", text); err != nil {
		return nil, err
	}
	if err := c.archive.w.Close(); err != nil {
		return nil, err
	}
	return &Summary{Identity: bundlefile.Identity(text), Manifest: &c.manifest, Digest: entry.Hash(c.archive.whole.Sum(nil)), Bytes: c.archive.bytes.n}, nil
}
