package pgstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// Skeletons and small openings of successive entries share a row, a run, which
// fills a page of the database. A row costs several times what its bytes cost:
// its own header, an entry in an index, a record in the journal, and all of
// that once more on the standby. docs/decisions/14-postgresql.md has the
// reasons for this shape.

const (
	// runSize is the size of the content of a run. With the other columns, it
	// is below the size of a page.
	runSize = 8000
	// maxSlot is the size of the largest opening that is put into a run.
	maxSlot = 3900
	// skeletonsInRun is the number of skeletons in a run.
	skeletonsInRun = runSize / skeletonSize
	// slotLength is the size of an entry's length in a column of openings.
	slotLength = 2
)

// A column is the headers or the payloads of a run. Each opening in it, a slot,
// is its salt, its content, and a checksum that binds both to their entry, so
// that a wrong length never yields the bytes of another entry.
type column struct {
	kind  byte // headerColumn or payloadColumn
	slots [][]byte
}

const (
	headerColumn  = 'h'
	payloadColumn = 'p'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// slotSum returns the checksum of a slot.
func slotSum(kind byte, index uint64, bytes []byte) uint32 {
	place := binary.BigEndian.AppendUint64([]byte{kind}, index)
	return crc32.Update(crc32.Checksum(place, castagnoli), castagnoli, bytes)
}

// slotSize returns the size of a slot.
func slotSize(content []byte) int { return entry.HashSize + len(content) + 4 }

// newSlot returns the slot of an opening.
func newSlot(kind byte, index uint64, salt *entry.Salt, content []byte) []byte {
	b := make([]byte, 0, slotSize(content))
	b = append(append(b, salt[:]...), content...)
	return binary.BigEndian.AppendUint32(b, slotSum(kind, index, b))
}

// encode returns the column as it is stored.
func (c *column) encode() []byte {
	size := slotLength * len(c.slots)
	for _, slot := range c.slots {
		size += len(slot)
	}
	b := make([]byte, 0, size)
	for _, slot := range c.slots {
		b = binary.BigEndian.AppendUint16(b, uint16(len(slot)))
	}
	for _, slot := range c.slots {
		b = append(b, slot...)
	}
	return b
}

// decodeColumn returns the slots of a column. They are part of its bytes.
func decodeColumn(kind byte, entries int, b []byte) (*column, error) {
	if entries < 1 || len(b) < slotLength*entries {
		return nil, fmt.Errorf("a run of %d openings has %d bytes: %w", entries, len(b), store.ErrDamaged)
	}
	c := &column{kind: kind, slots: make([][]byte, entries)}
	lengths, content := b[:slotLength*entries], b[slotLength*entries:]
	for i := range c.slots {
		n := int(binary.BigEndian.Uint16(lengths[slotLength*i:]))
		if n > len(content) {
			return nil, fmt.Errorf("a run of openings is shorter than its lengths: %w", store.ErrDamaged)
		}
		c.slots[i], content = content[:n:n], content[n:]
	}
	if len(content) > 0 {
		return nil, fmt.Errorf("a run of openings is %d bytes longer than its lengths: %w", len(content), store.ErrDamaged)
	}
	return c, nil
}

// at returns the opening of an entry, or nil if it is not in the run.
func (c *column) at(first, index uint64) (*opening, error) {
	slot := c.slots[index-first]
	if len(slot) == 0 {
		return nil, nil
	}
	end := len(slot) - 4
	if end < entry.HashSize || binary.BigEndian.Uint32(slot[end:]) != slotSum(c.kind, index, slot[:end]) {
		return nil, fmt.Errorf("an opening of entry %d is not what was written: %w", index, store.ErrDamaged)
	}
	return &opening{salt: slot[:entry.HashSize], content: slot[entry.HashSize:end:end], size: int64(end - entry.HashSize)}, nil
}

// A run is the openings of successive entries.
type run struct {
	first             uint64
	headers, payloads column
	size              int
}

// newRun returns a run without entries.
func newRun(first uint64) *run {
	return &run{first: first, headers: column{kind: headerColumn}, payloads: column{kind: payloadColumn}}
}

// next returns the index of the entry after the run.
func (r *run) next() uint64 { return r.first + uint64(len(r.headers.slots)) }

// fits reports whether an entry with these slots may follow in the run.
func (r *run) fits(index uint64, header, payload []byte) bool {
	return index == r.next() && r.size+2*slotLength+len(header)+len(payload) <= runSize
}

func (r *run) add(header, payload []byte) {
	r.headers.slots, r.payloads.slots = append(r.headers.slots, header), append(r.payloads.slots, payload)
	r.size += 2*slotLength + len(header) + len(payload)
}
