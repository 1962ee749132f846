package bundle

import (
	"context"
	"fmt"
	"slices"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

// writeEntries writes the records of the stream.
func (c *creation) writeEntries(ctx context.Context) error {
	var text []byte
	var first uint64
	flush := func() error {
		err := c.archive.add(bundlefile.EntriesName(first), bundlefile.RoleEntries, text)
		text = text[:0]
		return err
	}
	next := 0
	err := c.each(ctx, ledger.Filter{}, func(e *ledger.Entry) error {
		if len(text) == 0 {
			first = e.Index
		}
		r, err := c.record(ctx, e, c.entries[next].state)
		if err != nil {
			return err
		}
		if text, err = r.AppendLine(text); err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err)
		}
		next++
		c.progress()
		if len(text) < bundlefile.EntriesSize {
			return nil
		}
		return flush()
	})
	if err == nil && len(text) > 0 {
		err = flush()
	}
	return err
}

// record returns the record of an entry.
func (c *creation) record(ctx context.Context, e *ledger.Entry, state bundlefile.State) (*bundlefile.Record, error) {
	r := &bundlefile.Record{Index: e.Index, Time: e.Skeleton.Time, LinkSalt: e.Skeleton.LinkSalt, Opening: e.Opening, HeaderHash: e.Skeleton.HeaderHash, Payload: state}
	if state != bundlefile.Included {
		return r, nil
	}
	salt, erased, err := c.Ledger.PayloadSalt(ctx, e)
	if err == nil && (erased || e.Header == nil) {
		err = erasedLater(c.size(), e.Index)
	}
	r.PayloadSalt = salt
	return r, err
}

// writeEvidence writes the payloads and receipts.
func (c *creation) writeEvidence(ctx context.Context) error {
	tail := receipt.NewProofTail(c.signed)
	for _, one := range c.entries {
		c.progress()
		if one.state != bundlefile.Included {
			continue
		}
		e, err := c.Ledger.Entry(ctx, c.Stream, one.index)
		if err != nil {
			return err
		}
		if e.Header == nil {
			return erasedLater(c.size(), one.index)
		}
		if err := c.writePayload(ctx, e); err != nil {
			return err
		}
		text, err := c.receipt(ctx, e, &tail)
		if err != nil {
			return fmt.Errorf("receipt of entry %d: %w", e.Index, err)
		}
		if err := c.archive.add(bundlefile.ReceiptName(e.Index), bundlefile.RoleReceipt, text); err != nil {
			return err
		}
	}
	return nil
}

// writePayload writes the payload of an entry, which need not fit in memory.
func (c *creation) writePayload(ctx context.Context, e *ledger.Entry) error {
	content, err := c.Ledger.OpenPayload(ctx, e)
	if err != nil {
		return err
	}
	if content == nil {
		return erasedLater(c.size(), e.Index)
	}
	defer content.Close()
	if content.Size > bundlefile.MaxMemberSize {
		return fmt.Errorf("the payload of entry %d has %d bytes, which is %w: a bundle holds at most %d", e.Index, content.Size, ledger.ErrTooLarge, int64(bundlefile.MaxMemberSize))
	}
	return c.archive.copy(ctx, bundlefile.PayloadName(e.Index, e.Header.MediaType), bundlefile.RolePayload, content, int64(content.Size))
}

// receipt returns the receipt of an entry at the bundle's checkpoint.
func (c *creation) receipt(ctx context.Context, e *ledger.Entry, tail *receipt.ProofTail) ([]byte, error) {
	salt, _, err := c.Ledger.PayloadSalt(ctx, e)
	if err != nil {
		return nil, err
	}
	path, err := c.published.InclusionProof(ctx, e.Index, c.size())
	if err != nil {
		return nil, err
	}
	sk := &e.Skeleton
	r := &receipt.Receipt{
		Form: receipt.Detached, Tag: sk.Tag, Time: sk.Time, Header: e.Opening, Payload: &receipt.PayloadOpening{Salt: salt},
		Link: &receipt.LinkOpening{Salt: sk.LinkSalt, StreamID: sk.StreamID, Seq: sk.Seq, Prev: sk.Prev},
	}
	return r.AppendJSONWithProof(nil, e.Index, entry.ByteSlices(path), tail)
}

// writeLog writes the checkpoint, the policy and the tiles.
func (c *creation) writeLog(ctx context.Context) error {
	if err := c.archive.add(bundlefile.CheckpointName, bundlefile.RoleCheckpoint, c.signed); err != nil {
		return err
	}
	if err := c.archive.add(bundlefile.PolicyName, bundlefile.RolePolicy, []byte(c.Policy.Text())); err != nil {
		return err
	}
	byName := map[string]bundlefile.Tile{}
	bundlefile.Tiles(c.size(), func(t bundlefile.Tile) bool {
		byName[t.Name()] = t
		return len(byName) < bundlefile.MaxMembers
	})
	for _, name := range sortedKeys(byName) {
		content, err := c.tile(ctx, byName[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := c.archive.add(name, bundlefile.RoleTile, content); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (c *creation) tile(ctx context.Context, t bundlefile.Tile) ([]byte, error) {
	if t.Level < 0 {
		return c.Ledger.EntryBundle(ctx, t.Index, t.Width)
	}
	hashes, err := c.published.Tile(ctx, uint8(t.Level), t.Index, t.Width)
	if err != nil {
		return nil, err
	}
	return slices.Concat(entry.ByteSlices(hashes)...), nil
}

// writeReports writes the documents for machines.
func (c *creation) writeReports(context.Context) error {
	for _, d := range c.documents {
		if err := c.archive.add(d.name, bundlefile.RoleReport, d.content); err != nil {
			return err
		}
	}
	return nil
}

// writePage writes the page for people.
func (c *creation) writePage(context.Context) error {
	return c.archive.add(bundlefile.IndexName, bundlefile.RoleReport, c.page)
}
