package pebblestore

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A run is the row of up to maxRun consecutive entries. Integers in values are
// big-endian or uvarints.
//
// Skeletons, whose size is fixed so that one is found without its neighbours:
//
//	u8 entries ‖ u8 streams ‖ stream IDs ‖
//	{ u8 stream ‖ tag ‖ linkSalt ‖ u64 seq ‖ prev ‖ u64 time ‖ headerHash }…
//
// Header openings, with noise and text apart, which compresses better. The
// length is that of the header plus 1, and 0 when the opening was erased; then
// it has no salt and no header:
//
//	u8 entries ‖ uvarint length… ‖ salt… ‖ header…
//
// Raw leaves:
//
//	u8 entries ‖ uvarint length… ‖ leaf data…
const (
	maxRun       = 32
	maxRunBytes  = 64 << 10 // of headers or raw leaves: who wants one reads them all
	skeletonSize = 1 + entry.HashSize + entry.HashSize + 8 + entry.HashSize + 8 + entry.HashSize

	maxPostings = 1024 // of a row
)

// badRow is the error of a row that can't be what this program wrote. It is
// store.ErrDamaged.
func badRow(key []byte, format string, args ...any) error {
	return fmt.Errorf("bad row %s: %s: %w", describeKey(key), fmt.Sprintf(format, args...), store.ErrDamaged)
}

func describeKey(key []byte) string {
	if len(key) > 0 && key[0] == metaSpace {
		return string(key)
	}
	if len(key) == 0 {
		return "of the empty key"
	}
	return fmt.Sprintf("%c %x", key[0], key[1:])
}

func encodeVersion(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func decodeVersion(v []byte) (uint32, error) {
	if len(v) != 4 {
		return 0, badRow(formatKey, "the value has %d bytes, want 4", len(v))
	}
	n := binary.BigEndian.Uint32(v)
	switch {
	case n > formatVersion:
		return 0, fmt.Errorf("the store has format %d, and this program knows no format above %d: use the newer program that wrote it", n, formatVersion)
	case n >= 1 && n < formatOldest:
		return 0, fmt.Errorf("the store has format %d, whose entries are of version 1, and this program reads version 2 only: no release has written it; make a new log with muniment init", n)
	case n < 1:
		return 0, badRow(formatKey, "there is no format %d", n)
	}
	return n, nil
}

func putTreeHead(v []byte, h *treeHead) {
	binary.BigEndian.PutUint64(v, h.size)
	copy(v[8:], h.root[:])
	binary.BigEndian.PutUint64(v[8+entry.HashSize:], h.time)
}

const treeHeadSize = 8 + entry.HashSize + 8

func decodeTreeHead(v []byte) (h treeHead, err error) {
	if len(v) != treeHeadSize {
		return h, badRow(headKey, "the value has %d bytes, want %d", len(v), treeHeadSize)
	}
	h.size = binary.BigEndian.Uint64(v)
	copy(h.root[:], v[8:])
	h.time = binary.BigEndian.Uint64(v[8+entry.HashSize:])
	if h.size == 0 {
		return h, badRow(headKey, "it is the head of an empty log")
	}
	return h, nil
}

const streamHeadSize = 8 + entry.HashSize

func putStreamHead(v []byte, h *store.StreamHead) {
	binary.BigEndian.PutUint64(v, h.Next)
	copy(v[8:], h.Last[:])
}

func decodeStreamHead(key, v []byte) (h store.StreamHead, err error) {
	if len(key) != headKeySize || len(v) != streamHeadSize {
		return h, badRow(key, "key and value have %d and %d bytes, want %d and %d", len(key), len(v), headKeySize, streamHeadSize)
	}
	copy(h.StreamID[:], key[1:])
	h.Next = binary.BigEndian.Uint64(v)
	copy(h.Last[:], v[8:])
	return h, nil
}

const (
	tileRowSize = store.TileHashes * entry.HashSize
	// before formatTiles
	oldTileRowSize = store.TileWidth * entry.HashSize
)

func decodeTile(key, v []byte) ([]entry.Hash, error) {
	if len(v) != tileRowSize && len(v) != oldTileRowSize {
		return nil, badRow(key, "the value has %d bytes, want %d", len(v), tileRowSize)
	}
	hashes := make([]entry.Hash, len(v)/entry.HashSize)
	for i := range hashes {
		copy(hashes[i][:], v[i*entry.HashSize:])
	}
	if len(v) == oldTileRowSize {
		return store.TileNodes(hashes), nil
	}
	return hashes, nil
}

func decodePayload(key, v []byte) (*receipt.PayloadOpening, error) {
	if len(v) == 0 {
		return nil, nil // erased
	}
	if len(v) < entry.HashSize {
		return nil, badRow(key, "the value has %d bytes, want at least %d", len(v), entry.HashSize)
	}
	p := &receipt.PayloadOpening{Salt: entry.Salt(v[:entry.HashSize])}
	p.Content = append([]byte{}, v[entry.HashSize:]...) // never nil: an empty payload is one
	return p, nil
}

func decodeIndex(key, v []byte) (uint64, error) {
	n, size := binary.Uvarint(v)
	if size <= 0 || size != len(v) {
		return 0, badRow(key, "the value %x is not an index", v)
	}
	return n, nil
}

// firstIndex returns the index in the key of a run.
func firstIndex(key []byte) (uint64, error) {
	if len(key) != indexKeySize {
		return 0, badRow(key, "the key has %d bytes, want %d", len(key), indexKeySize)
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

// A skeletonRun is the checked value of a row of skeletons.
type skeletonRun []byte

func skeletonRunSize(entries, streams int) int {
	return 2 + streams*entry.HashSize + entries*skeletonSize
}

// putSkeletonRun writes the run of the entries to v, which has the right size
// for as many streams as these are.
func putSkeletonRun(v []byte, entries []store.Entry, streams []entry.Hash) {
	v[0], v[1] = byte(len(entries)), byte(len(streams))
	v = v[2:]
	for i := range streams {
		v = v[copy(v, streams[i][:]):]
	}
	at := 0
	for i := range entries {
		s := &entries[i].Skeleton
		if s.StreamID != streams[at] {
			at = indexOf(streams, &s.StreamID)
		}
		v[0] = byte(at)
		v = v[1:]
		v = v[copy(v, s.Tag[:]):]
		v = v[copy(v, s.LinkSalt[:]):]
		binary.BigEndian.PutUint64(v, s.Seq)
		v = v[8:]
		v = v[copy(v, s.Prev[:]):]
		binary.BigEndian.PutUint64(v, s.Time)
		v = v[8:]
		v = v[copy(v, s.HeaderHash[:]):]
	}
}

func indexOf(streams []entry.Hash, id *entry.Hash) int {
	for i := range streams {
		if streams[i] == *id {
			return i
		}
	}
	return -1
}

// decodeSkeletonRun returns the index of the first entry, and the run. The run
// uses the memory of v.
func decodeSkeletonRun(key, v []byte) (first uint64, r skeletonRun, err error) {
	if first, err = firstIndex(key); err != nil {
		return 0, nil, err
	}
	if len(v) < 2 {
		return 0, nil, badRow(key, "the value has %d bytes, want at least 2", len(v))
	}
	entries, streams := int(v[0]), int(v[1])
	if entries == 0 || entries > maxRun || streams == 0 || streams > entries || first > math.MaxUint64-uint64(entries) {
		return 0, nil, badRow(key, "it is said to hold %d entries of %d streams", entries, streams)
	}
	if want := skeletonRunSize(entries, streams); len(v) != want {
		return 0, nil, badRow(key, "the value has %d bytes, want %d for %d entries of %d streams", len(v), want, entries, streams)
	}
	for i := range entries {
		if at := v[2+streams*entry.HashSize+i*skeletonSize]; int(at) >= streams {
			return 0, nil, badRow(key, "entry %d is of stream %d of %d", i, at, streams)
		}
	}
	return first, v, nil
}

func (r skeletonRun) len() int { return int(r[0]) }

// skeletonRunEnd returns the index after the last entry of a row.
func skeletonRunEnd(key, v []byte) (uint64, error) {
	first, r, err := decodeSkeletonRun(key, v)
	if err != nil {
		return 0, err
	}
	return first + uint64(r.len()), nil
}

// at returns the skeleton of the run's i-th entry.
func (r skeletonRun) at(i int) (s entry.Skeleton) {
	streams := r[2:]
	v := streams[int(r[1])*entry.HashSize+i*skeletonSize:]
	copy(s.StreamID[:], streams[int(v[0])*entry.HashSize:])
	v = v[1:]
	v = v[copy(s.Tag[:], v):]
	v = v[copy(s.LinkSalt[:], v):]
	s.Seq = binary.BigEndian.Uint64(v)
	v = v[8:]
	v = v[copy(s.Prev[:], v):]
	s.Time = binary.BigEndian.Uint64(v)
	v = v[8:]
	copy(s.HeaderHash[:], v)
	return s
}

func headerRunSize(entries []store.Entry) int {
	n := 1
	for i := range entries {
		if entries[i].NoHeader {
			n++
			continue
		}
		header := len(entries[i].Header.Content)
		n += uvarintSize(uint64(header)+1) + entry.HashSize + header
	}
	return n
}

func putHeaderRun(v []byte, entries []store.Entry) {
	v[0] = byte(len(entries))
	v = v[1:]
	for i := range entries {
		length := uint64(len(entries[i].Header.Content)) + 1
		if entries[i].NoHeader {
			length = 0
		}
		v = v[binary.PutUvarint(v, length):]
	}
	for i := range entries {
		if !entries[i].NoHeader {
			v = v[copy(v, entries[i].Header.Salt[:]):]
		}
	}
	for i := range entries {
		v = v[copy(v, entries[i].Header.Content):] // empty if it was erased
	}
}

// decodeHeader returns the opening of the entry with the index. It is nil if it
// was erased; ok is false if the run ends before.
func decodeHeader(key, v []byte, index uint64) (h *receipt.HeaderOpening, ok bool, err error) {
	first, err := firstIndex(key)
	if err != nil {
		return nil, false, err
	}
	if len(v) == 0 || v[0] == 0 || v[0] > maxRun || first > index {
		return nil, false, badRow(key, "it is not a run of headers before entry %d", index)
	}
	entries, rest := int(v[0]), v[1:]
	var lengths [maxRun]uint64
	// number of salts; length of the headers before the one wanted, and of all
	var salts, before, total uint64
	var saltAt uint64
	for i := range entries {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(v)) {
			return nil, false, badRow(key, "the length of header %d is wrong", i)
		}
		rest = rest[size:]
		lengths[i] = n
		if first+uint64(i) == index {
			before, saltAt = total, salts
		}
		if n > 0 {
			salts++
			total += n - 1
		}
	}
	if uint64(len(rest)) != salts*entry.HashSize+total {
		return nil, false, badRow(key, "%d bytes are left for %d salts and %d bytes of headers", len(rest), salts, total)
	}
	if index-first >= uint64(entries) {
		return nil, false, nil
	}
	n := lengths[index-first]
	if n == 0 {
		return nil, true, nil
	}
	h = &receipt.HeaderOpening{Salt: entry.Salt(rest[saltAt*entry.HashSize:][:entry.HashSize])}
	h.Content = append([]byte{}, rest[salts*entry.HashSize+before:][:n-1]...)
	return h, true, nil
}

// eraseHeaders returns the run without the headers of the entries with the
// indexes, which are in it, and their salts.
func eraseHeaders(key, v []byte, indexes map[uint64]bool) ([]byte, error) {
	first, err := firstIndex(key)
	if err != nil {
		return nil, err
	}
	if len(v) == 0 {
		return nil, badRow(key, "it is empty")
	}
	entries := make([]*receipt.HeaderOpening, v[0])
	size := 1
	for i := range entries {
		index := first + uint64(i)
		h, ok, err := decodeHeader(key, v, index)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, badRow(key, "it has no entry %d", index)
		}
		if indexes[index] {
			h = nil
		}
		entries[i] = h
		if h == nil {
			size++
		} else {
			size += uvarintSize(uint64(len(h.Content))+1) + entry.HashSize + len(h.Content)
		}
	}
	out := append(make([]byte, 0, size), v[0])
	for _, h := range entries {
		if h == nil {
			out = append(out, 0)
		} else {
			out = binary.AppendUvarint(out, uint64(len(h.Content))+1)
		}
	}
	for _, h := range entries {
		if h != nil {
			out = append(out, h.Salt[:]...)
		}
	}
	for _, h := range entries {
		if h != nil {
			out = append(out, h.Content...)
		}
	}
	return out, nil
}

func leafRunSize(leaves []store.Leaf) int {
	n := 1
	for i := range leaves {
		n += uvarintSize(uint64(len(leaves[i].Data))) + len(leaves[i].Data)
	}
	return n
}

func putLeafRun(v []byte, leaves []store.Leaf) {
	v[0] = byte(len(leaves))
	v = v[1:]
	for i := range leaves {
		v = v[binary.PutUvarint(v, uint64(len(leaves[i].Data))):]
	}
	for i := range leaves {
		v = v[copy(v, leaves[i].Data):]
	}
}

// decodeLeafRun returns the index of the first entry and the leaves, which use
// the memory of v.
func decodeLeafRun(key, v []byte) (first uint64, leaves [][]byte, err error) {
	if first, err = firstIndex(key); err != nil {
		return 0, nil, err
	}
	if len(v) == 0 || v[0] == 0 || v[0] > maxRun || first > math.MaxUint64-uint64(v[0]) {
		return 0, nil, badRow(key, "it is not a run of raw leaves")
	}
	var lengths [maxRun]int
	entries, rest, total := int(v[0]), v[1:], 0
	for i := range entries {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n == 0 || n > store.MaxLeafSize {
			return 0, nil, badRow(key, "the length of leaf %d is wrong", i)
		}
		rest = rest[size:]
		lengths[i] = int(n)
		total += int(n)
	}
	if len(rest) != total {
		return 0, nil, badRow(key, "%d bytes are left for %d bytes of leaves", len(rest), total)
	}
	leaves = make([][]byte, entries)
	for i := range leaves {
		leaves[i], rest = rest[:lengths[i]:lengths[i]], rest[lengths[i]:]
	}
	return first, leaves, nil
}

// leafRunEnd returns the index after the last entry of a row.
func leafRunEnd(key, v []byte) (uint64, error) {
	first, leaves, err := decodeLeafRun(key, v)
	if err != nil {
		return 0, err
	}
	return first + uint64(len(leaves)), nil
}

// decodePostings appends the indexes of a row of postings to dst.
func decodePostings(dst []uint64, key, v []byte) ([]uint64, error) {
	if len(key) != postingKeySize {
		return dst, badRow(key, "the key has %d bytes, want %d", len(key), postingKeySize)
	}
	index := binary.BigEndian.Uint64(key[termPrefixSize:])
	dst = append(dst, index)
	for rest := v; len(rest) > 0; {
		step, size := binary.Uvarint(rest)
		if size <= 0 || step == 0 || step > math.MaxUint64-index {
			return dst, badRow(key, "the list breaks off after index %d", index)
		}
		index += step
		dst = append(dst, index)
		rest = rest[size:]
	}
	return dst, nil
}

func uvarintSize(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }
