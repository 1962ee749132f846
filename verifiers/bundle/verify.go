package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
	"muniment.dev/muniment/ledger/receipt"
)

// Options are the inputs of a verification besides the bundle and the policies.
type Options struct {
	StreamKey *entry.StreamKey // nil: completeness is not checked
	Identity  *string          // expected; nil: any
	Tenant    *string          // expected; nil: any
	// Progress is called with the work done. It can be nil.
	Progress func(done, total uint64)
	// Reports computes the reports again from the verified content, by which
	// the policy that has accepted the checkpoint is known. Nil: they are not
	// compared. An error that wraps ErrReports refuses the bundle.
	Reports func(ctx context.Context, b *Bundle, accepted *receipt.TrustPolicy) (*Reports, error)
}

// Reports are what the reports of a bundle must be.
type Reports struct {
	Members map[string][]byte // their content, by name
	Stated  []string          // what is the creator's account, a sentence each
	Problem string            // why they are not computed; "": they are
}

// A Report is the result of a verified bundle.
type Report struct {
	Identity  string
	Origin    string
	Tenant    string
	Size      uint64
	Root      entry.Hash
	Time      uint64 // T, in Unix milliseconds
	Entries   uint64 // of the stream
	Included  uint64 // payloads
	Omitted   uint64
	Erased    []uint64 // entries whose payload was erased
	Complete  bool     // the stream key was given
	Signers   []string // keys of the policy that signed the checkpoint, name+hash, sorted
	Policy    string   // name of the accepting policy
	Witnessed bool     // whether the policy's quorum requires a witness
	// Reports is the result of computing the reports again, without their
	// content. Nil: they were not compared.
	Reports *Reports
	// Warnings name what was not proven, in the order of the constants.
	Warnings []Warning
}

// A Warning is the code of something that a verified bundle does not prove.
// Codes are stable. They are specified in docs/spec/bundle.md, section 5.
type Warning string

// The warnings.
const (
	NotWitnessed           Warning = "not-witnessed"
	CompletenessNotChecked Warning = "completeness-not-checked"
	ReportsNotCompared     Warning = "reports-not-compared"
	CoverageStated         Warning = "coverage-stated"
)

// warnings returns what the verification has not proven.
func (r *Report) warnings() []Warning {
	compared := r.Reports != nil && r.Reports.Problem == ""
	all := []Warning{}
	for _, one := range []struct {
		code Warning
		is   bool
	}{
		{NotWitnessed, !r.Witnessed},
		{CompletenessNotChecked, !r.Complete},
		{ReportsNotCompared, !compared},
		{CoverageStated, compared && len(r.Reports.Stated) > 0},
	} {
		if one.is {
			all = append(all, one.code)
		}
	}
	return all
}

// Verify opens a bundle and verifies it, as docs/spec/bundle.md, section 5,
// specifies. Every error is an *Error, or that of the context.
func Verify(ctx context.Context, r io.ReaderAt, size int64, policies []*receipt.TrustPolicy, o Options) (*Bundle, *Report, error) {
	if err := o.check(policies); err != nil {
		return nil, nil, err
	}
	b, err := Open(r, size)
	if err != nil {
		return nil, nil, err
	}
	v := &verification{Bundle: b, o: &o, policies: policies, report: &Report{
		Identity: b.Identity, Origin: b.Manifest.Origin, Tenant: b.Manifest.Tenant, Size: b.Manifest.Size, Root: b.Manifest.Root, Time: b.Manifest.Time, Entries: b.Manifest.Stream.Entries,
	}}
	for _, step := range []func(context.Context) error{v.digests, v.acceptCheckpoint, b.checkTree, v.records, v.erasures, v.payloads, v.complete} {
		if err := step(ctx); err != nil {
			return nil, nil, err
		}
	}
	if err := v.expectations(); err != nil {
		return nil, nil, err
	}
	if err := v.reports(ctx); err != nil {
		return nil, nil, err
	}
	v.report.Warnings = v.report.warnings()
	return b, v.report, nil
}

// check checks the inputs of the caller.
func (o *Options) check(policies []*receipt.TrustPolicy) error {
	if len(policies) == 0 {
		return fail(PolicyMissing, "no trust policy was given")
	}
	if o.Tenant != nil && *o.Tenant == "" {
		return fail(ExpectationMalformed, "the expected tenant is empty")
	}
	if o.Identity == nil {
		return nil
	}
	const prefix = "sha256:"
	if digits, ok := bytes.CutPrefix([]byte(*o.Identity), []byte(prefix)); ok {
		if h, err := entry.ParseHash(string(digits)); err == nil && prefix+h.String() == *o.Identity {
			return nil
		}
	}
	return fail(ExpectationMalformed, "the expected identity must be sha256: and 64 lowercase hexadecimal digits")
}

// A verification is the progress of Verify.
type verification struct {
	*Bundle
	o        *Options
	policies []*receipt.TrustPolicy
	report   *Report
	done     uint64

	checkpoint []byte
	accepted   *receipt.TrustPolicy
	entries    []known // the records, in order
	erased     map[uint64]bool
	alsoHeader map[uint64]bool
}

// known is what later steps need of a record without reading it again.
type known struct {
	index   uint64
	payload State
	header  bool // was not erased
}

func (v *verification) progress(n int64) {
	v.done += uint64(n)
	if v.o.Progress != nil {
		v.o.Progress(v.done, 2*uint64(v.Bytes))
	}
}

// digests performs step 3.
func (v *verification) digests(ctx context.Context) error {
	buf := make([]byte, 256<<10)
	for i := range v.files {
		h := sha256.New()
		if err := v.copy(ctx, h, v.section(i), buf); err != nil {
			return err
		}
		if m := &v.Manifest.Members[i]; entry.Hash(h.Sum(nil)) != m.SHA256 {
			return fail(MemberDigest, "%s: it has another digest than in the manifest", m.Name)
		}
		v.progress(v.files[i].size)
	}
	return nil
}

// copy copies a member, and stops when the context ends.
func (v *verification) copy(ctx context.Context, to io.Writer, from io.Reader, buf []byte) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.Read(buf)
		_, _ = to.Write(buf[:n]) // hashes do not fail
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fail(Unreadable, "read the bundle: %w", err)
		}
	}
}

// acceptCheckpoint performs step 4. The first policy that accepts is reported.
func (v *verification) acceptCheckpoint(context.Context) error {
	if v.files[v.places[CheckpointName]].size > receipt.MaxCheckpointSize {
		return fail(CheckpointMalformed, "%s: more than %d bytes", CheckpointName, receipt.MaxCheckpointSize)
	}
	var err error
	if v.checkpoint, err = v.read(CheckpointName); err != nil {
		return err
	}
	c, err := receipt.ParseCheckpointUnverified(v.checkpoint)
	if err != nil {
		return fail(CheckpointMalformed, "%s: %w", CheckpointName, err)
	}
	var furthest *Error
	for _, p := range v.policies {
		_, keys, err := p.VerifyCheckpoint(v.checkpoint)
		if err == nil {
			v.accepted, v.report.Signers, v.report.Policy, v.report.Witnessed = p, keys, p.Name, p.RequiresWitness()
			furthest = nil
			break
		}
		e := checkpointError(err)
		if furthest == nil || slices.Index(steps[4], e.Code) > slices.Index(steps[4], furthest.Code) {
			furthest = e
		}
	}
	if furthest != nil {
		return furthest
	}
	m := v.Manifest
	if c.Origin != m.Origin || c.Size != m.Size || c.Root != m.Root {
		return fail(CheckpointMismatch, "%s: it is that of %q, size %d, root %s; the manifest has %q, size %d, root %s",
			CheckpointName, c.Origin, c.Size, c.Root.Base64(), m.Origin, m.Size, m.Root.Base64())
	}
	return nil
}

// records performs step 6, and notes the erasures.
func (v *verification) records(ctx context.Context) error {
	v.erased, v.alsoHeader = map[uint64]bool{}, map[uint64]bool{}
	return v.EachRecord(ctx, func(r *Record) error {
		v.entries = append(v.entries, known{r.Index, r.Payload, r.Header != nil})
		if r.Header == nil || r.Header.Kind != erasureKind {
			return nil
		}
		index, err := strictjson.ParseInteger(r.Header.Attributes["entry"])
		if err != nil || index >= r.Index {
			return nil // names no earlier entry
		}
		switch r.Header.Attributes["scope"] {
		case "header-and-payload":
			v.erased[index], v.alsoHeader[index] = true, true
		case "payload":
			v.erased[index] = true
		}
		return nil
	})
}

// erasures performs step 7.
func (v *verification) erasures(context.Context) error {
	for _, r := range v.entries {
		switch {
		case v.erased[r.index] && r.payload != Erased:
			return fail(ErasureMismatch, "entry %d: its payload was erased, but its record has it as %s", r.index, r.payload)
		case !v.erased[r.index] && r.payload == Erased:
			return fail(ErasureMismatch, "entry %d: no entry records the erasure of its payload", r.index)
		case v.alsoHeader[r.index] == r.header:
			return fail(ErasureMismatch, "entry %d: its header must be absent if and only if an entry records its erasure", r.index)
		}
	}
	return nil
}

// payloads performs step 8.
func (v *verification) payloads(ctx context.Context) error {
	wanted := v.Manifest.Wanted()
	buf := make([]byte, 256<<10)
	used := 0
	err := v.EachRecord(ctx, func(r *Record) error {
		switch r.Payload {
		case Erased:
			v.report.Erased = append(v.report.Erased, r.Index)
			return nil
		case Omitted:
			v.report.Omitted++
			if wanted.Needs(r.Header, r.Time) {
				return fail(PayloadOmitted, "entry %d: its payload is omitted, but the selection requires it", r.Index)
			}
			return nil
		}
		v.report.Included++
		used += 2
		return v.payload(ctx, r, buf)
	})
	if err != nil {
		return err
	}
	for _, m := range v.Manifest.Members {
		if m.Role == RolePayload || m.Role == RoleReceipt {
			used--
		}
	}
	if used < 0 {
		return fail(PayloadUnexpected, "a member of %s belongs to no record", evidenceFolder)
	}
	return nil
}

// payload checks the payload and the receipt of a record.
func (v *verification) payload(ctx context.Context, r *Record, buf []byte) error {
	name := PayloadName(r.Index, r.Header.MediaType)
	content := v.Open(name)
	if content == nil || v.Open(ReceiptName(r.Index)) == nil {
		return fail(PayloadMissing, "entry %d: no members %s and %s", r.Index, name, ReceiptName(r.Index))
	}
	h := entry.NewCommitment(r.PayloadSalt)
	if err := v.copy(ctx, h, content, buf); err != nil {
		return err
	}
	if uint64(content.Size()) != r.Header.Payload.Size || entry.Hash(h.Sum(nil)) != r.Header.Payload.Commitment {
		return fail(PayloadMismatch, "%s: not the payload of entry %d", name, r.Index)
	}
	v.progress(content.Size())
	if err := v.receipt(r); err != nil {
		return fail(ReceiptMismatch, "%s: %w", ReceiptName(r.Index), err)
	}
	return nil
}

// receipt compares the receipt of a record with the record.
func (v *verification) receipt(r *Record) error {
	text, err := v.read(ReceiptName(r.Index))
	if err != nil {
		return err
	}
	got, err := receipt.Parse(text)
	if err != nil {
		return err
	}
	p, err := receipt.ParseProof(string(got.Proof))
	if err != nil {
		return err
	}
	sk := r.skeleton(v.Manifest.Stream.ID)
	switch {
	case got.Form != receipt.Detached:
		return fmt.Errorf("its form is %s, want %s", got.Form, receipt.Detached)
	case got.Tag != sk.Tag || got.Time != sk.Time || *got.Link != (receipt.LinkOpening{Salt: sk.LinkSalt, StreamID: sk.StreamID, Seq: sk.Seq, Prev: sk.Prev}):
		return errors.New("its place in the stream differs from that in the record")
	case got.Header.Salt != r.Opening.Salt || !bytes.Equal(got.Header.Content, r.Opening.Content):
		return errors.New("its header differs from that in the record")
	case got.Payload.Salt != r.PayloadSalt:
		return errors.New("its salt of the payload differs from that in the record")
	case p.Index != r.Index:
		return fmt.Errorf("its proof is for entry %d", p.Index)
	case !bytes.Equal(p.Checkpoint, v.checkpoint):
		return fmt.Errorf("its checkpoint is not the one in %s", CheckpointName)
	}
	return receipt.VerifyInclusion(r.Index, v.Manifest.Size, sk.LeafHash(entry.HashOrigin(v.Manifest.Origin)), p.Path, v.Manifest.Root)
}

// complete performs step 9.
func (v *verification) complete(ctx context.Context) error {
	key := v.o.StreamKey
	if key == nil {
		return nil
	}
	if key.StreamID() != v.Manifest.Stream.ID {
		return fail(StreamKeyMismatch, "the stream key is that of another stream")
	}
	tags := entry.NewTagTable(key)
	tags.Reserve(v.Manifest.Size)
	const step = 1 << 16 // between checks of the context
	for tags.Len() < v.Manifest.Size {
		if err := ctx.Err(); err != nil {
			return err
		}
		tags.Extend(min(tags.Len()+step, v.Manifest.Size))
	}
	next := 0
	err := v.EachLeaf(ctx, func(index uint64, data []byte) error {
		seq, ok := tags.Find(entry.Hash(data[1 : 1+entry.HashSize]))
		own := next < len(v.entries) && v.entries[next].index == index
		switch {
		case own && (!ok || seq != uint64(next)):
			return fail(StreamIncomplete, "entry %d does not have the tag of entry %d of the stream", index, next)
		case own:
			next++
		case ok:
			return fail(StreamIncomplete, "entry %d of the log has the tag of entry %d of the stream, but the bundle has no record of it", index, seq)
		}
		return nil
	})
	v.report.Complete = err == nil
	return err
}

// expectations performs step 10.
func (v *verification) expectations() error {
	if want := v.o.Identity; want != nil && *want != v.Identity {
		return fail(IdentityMismatch, "its identity is %s, want %s", v.Identity, *want)
	}
	if want := v.o.Tenant; want != nil && *want != v.Manifest.Tenant {
		return fail(TenantMismatch, "its tenant is %q, want %q", v.Manifest.Tenant, *want)
	}
	return nil
}
