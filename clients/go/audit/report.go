package audit

import (
	"context"
	"fmt"
	"strings"

	"filippo.io/torchwood"
	"github.com/go-json-experiment/json"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// A Report is the result of an audit. In JSON, hashes and leaves are in base64.
type Report struct {
	Origin     string     `json:"origin"`
	Size       uint64     `json:"size"` // all entries before it are sound
	Root       entry.Hash `json:"root"`
	Checkpoint string     `json:"checkpoint"` // signed note, verbatim
	Signers    []string   `json:"signers"`    // keys of the policy that signed it, name+hash
	Witnessed  bool       `json:"witnessed"`  // the policy requires witnesses, and they signed

	From   uint64        `json:"from"`            // the entries before it were read by earlier runs
	Stream *StreamReport `json:"stream,omitzero"` // nil without a stream key
}

// MarshalJSON implements json.Marshaler.
func (r *Report) MarshalJSON() ([]byte, error) {
	type plain Report
	return json.Marshal((*plain)(r))
}

// A StreamReport describes a stream in the whole log, as found by this run and
// earlier ones.
//
// If it is complete, the log contains the entries 0 to Next-1 once each and in
// order, and no leaf has the tag of a sequence number from Next up to the log's
// size. Verifiers refuse entries with greater sequence numbers.
type StreamReport struct {
	ID    entry.Hash `json:"id"`
	Next  uint64     `json:"next"`  // one more than the largest sequence number found
	Found uint64     `json:"found"` // number of sequence numbers found

	LastIndex uint64     `json:"lastIndex"` // of entry Next-1; 0 if there is none
	LastLeaf  entry.Hash `json:"lastLeaf"`

	Missing  []SeqRange `json:"missing"`           // gaps before Next
	HeldBack *SeqRange  `json:"heldBack,omitzero"` // from Next up to Options.ExpectNext

	Doubled    []DoubleEvidence `json:"doubled"`
	OutOfOrder []OutOfOrder     `json:"outOfOrder"`

	DoubledTotal    uint64 `json:"doubledTotal"` // including those beyond MaxFindings
	OutOfOrderTotal uint64 `json:"outOfOrderTotal"`
}

// Complete reports whether the stream is complete.
func (r *StreamReport) Complete() bool {
	return len(r.Missing) == 0 && r.HeldBack == nil && r.DoubledTotal == 0 && r.OutOfOrderTotal == 0
}

// DoubleEvidence proves that two leaves have the same tag. It convinces a third
// party, without the stream key, that the log forked a stream.
type DoubleEvidence struct {
	Seq    uint64     `json:"seq"`
	Tag    entry.Hash `json:"tag"`
	First  Leaf       `json:"first"`
	Second Leaf       `json:"second"`
}

// A Leaf is the public part of an entry.
type Leaf struct {
	Index uint64 `json:"index"`
	Data  []byte `json:"data,omitzero"` // leaf data; nil if the log did not serve it again
	// C2SP tlog-proof with the run's checkpoint; empty if Data is nil
	Proof string `json:"proof,omitzero"`
}

func (a *auditor) reportStream(ctx context.Context, s *StreamState) *StreamReport {
	r := &StreamReport{
		ID:              s.ID,
		Next:            s.Next,
		Found:           s.Found(),
		LastIndex:       s.LastIndex,
		LastLeaf:        s.LastLeaf,
		Missing:         s.Missing,
		OutOfOrder:      s.OutOfOrder,
		DoubledTotal:    s.DoubledTotal,
		OutOfOrderTotal: s.OutOfOrderTotal,
	}
	if want := a.opts.ExpectNext; want != nil && *want > s.Next {
		r.HeldBack = &SeqRange{s.Next, *want - 1}
	}
	for _, d := range s.Doubled {
		r.Doubled = append(r.Doubled, DoubleEvidence{
			Seq:    d.Seq,
			Tag:    a.opts.StreamKey.Tag(d.Seq),
			First:  a.leaf(ctx, d.First),
			Second: a.leaf(ctx, d.Second),
		})
	}
	return r
}

// leaf fetches an entry that the scan has seen, with its proof. If that fails,
// the finding is reported without them.
func (a *auditor) leaf(ctx context.Context, index uint64) Leaf {
	l := Leaf{Index: index}
	data, path, err := a.prove(ctx, index)
	if err != nil {
		return l
	}
	p := receipt.Proof{Index: index, Checkpoint: a.signed}
	for _, h := range path {
		p.Path = append(p.Path, entry.Hash(h))
	}
	l.Data, l.Proof = data, string(p.AppendText(nil))
	return l
}

func (a *auditor) prove(ctx context.Context, index uint64) ([]byte, tlog.RecordProof, error) {
	n := index / tileWidth
	t := tlog.Tile{H: torchwood.TileHeight, L: -1, N: int64(n), W: int(min(tileWidth, a.head.Size-n*tileWidth))}
	rest, _, err := a.files.read(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	var data []byte
	for range index%tileWidth + 1 {
		if data, rest, err = torchwood.ReadTileEntry(rest); err != nil {
			return nil, nil, err
		}
	}
	path, err := tlog.ProveRecord(int64(a.head.Size), int64(index), a.hashReader(ctx))
	if err != nil {
		return nil, nil, err
	}
	return data, path, tlog.CheckRecord(path, int64(a.head.Size), tlog.Hash(a.head.Root), int64(index), tlog.RecordHash(data))
}

// describe lists the findings, the most severe first.
func (r *StreamReport) describe() string {
	var all []string
	if r.DoubledTotal > 0 {
		s := fmt.Sprintf("%s more than one leaf, which proves that the operator forked the stream: ", count(r.DoubledTotal, "tag has", "tags have"))
		all = append(all, s+list(r.Doubled, r.DoubledTotal, func(d DoubleEvidence) string {
			return fmt.Sprintf("entry %d is at the indexes %d and %d", d.Seq, d.First.Index, d.Second.Index)
		}))
	}
	if len(r.Missing) > 0 {
		all = append(all, "missing, although later ones exist: "+list(r.Missing, uint64(len(r.Missing)), SeqRange.String))
	}
	if r.HeldBack != nil {
		there := "the log has no entry of the stream"
		if r.Next > 0 {
			there = fmt.Sprintf("the last one in the log is entry %d", r.Next-1)
		}
		all = append(all, fmt.Sprintf("expected but held back: %s (%s)", r.HeldBack, there))
	}
	if r.OutOfOrderTotal > 0 {
		all = append(all, "out of order: "+list(r.OutOfOrder, r.OutOfOrderTotal, func(o OutOfOrder) string {
			return fmt.Sprintf("entry %d is at index %d, after entry %d at index %d", o.Seq, o.Index, o.After, o.AfterIndex)
		}))
	}
	return strings.Join(all, "; ") + ". Keep the report, and show it to the log's operator with the receipts of these entries"
}

// String returns "entry 5" or "entries 5 to 7".
func (m SeqRange) String() string {
	if m.First == m.Last {
		return fmt.Sprintf("entry %d", m.First)
	}
	return fmt.Sprintf("entries %d to %d", m.First, m.Last)
}

func count(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// list describes the first few findings.
func list[T any](findings []T, total uint64, describe func(T) string) string {
	const most = 3
	var out []string
	for _, f := range findings[:min(most, len(findings))] {
		out = append(out, describe(f))
	}
	s := strings.Join(out, ", ")
	if more := total - uint64(len(out)); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}
