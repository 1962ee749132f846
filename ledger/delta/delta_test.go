package delta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

const testOrigin = "ledger.test/log"

func newKey(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func sealer(s note.Signer) func(string) ([]byte, error) {
	return func(text string) ([]byte, error) { return note.Sign(&note.Note{Text: text}, s) }
}

// A sample is data that a test writes and must read back.
type sample struct {
	header   Header
	leaves   [][]byte
	records  []*Record
	payloads map[uint64][]byte
}

func newSample(from, to uint64, payload int) *sample {
	s := &sample{header: Header{Origin: testOrigin, From: from, To: to, Streams: []Stream{{ID: entry.Hash{1}, End: to - from}}}, payloads: map[uint64][]byte{}}
	for i := from; i < to; i++ {
		s.leaves = append(s.leaves, bytes.Repeat([]byte{byte(i)}, 65))
		r := &Record{Index: i, StreamID: entry.Hash{1}, Seq: i - from, Time: i, HeaderHash: entry.Hash{2}}
		if i%3 > 0 {
			r.Header = &receipt.HeaderOpening{Salt: entry.Salt{3}, Content: bytes.Repeat([]byte("{"), int(i%50)+1)}
		}
		if i%3 == 2 {
			s.payloads[i] = bytes.Repeat([]byte{byte(i)}, payload)
			r.Payload = &Payload{Salt: entry.Salt{4}, Size: uint64(payload)}
		}
		s.records = append(s.records, r)
	}
	return s
}

func (s *sample) write(t testing.TB, signer note.Signer) []byte {
	t.Helper()
	var b bytes.Buffer
	d, err := NewWriter(&b, s.header, []byte("checkpoint"), []entry.Hash{{7}, {8}})
	if err != nil {
		t.Fatal(err)
	}
	for from := s.header.From; from < s.header.To; {
		to := min(from|255+1, s.header.To)
		d.Bundle(from, s.leaves[from-s.header.From:to-s.header.From])
		for ; from < to; from++ {
			d.Record(s.records[from-s.header.From], bytes.NewReader(s.payloads[from]))
		}
	}
	if err := d.Close(sealer(signer)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read reads all of a file.
func read(file []byte, key note.Verifier) (*sample, error) {
	f, err := Check(bytes.NewReader(file), int64(len(file)), key, nil)
	if err != nil {
		return nil, err
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	s := &sample{header: r.Header, payloads: map[uint64][]byte{}}
	for {
		b, err := r.Next()
		if err == io.EOF {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		for _, l := range b.Leaves {
			s.leaves = append(s.leaves, bytes.Clone(l))
		}
		for {
			rec, err := r.Record()
			if err != nil {
				return nil, err
			}
			if rec == nil {
				break
			}
			s.records = append(s.records, rec)
			if rec.Payload != nil {
				p := []byte{}
				if err := r.Payload(rec, func(part []byte) error { p = append(p, part...); return nil }); err != nil {
					return nil, err
				}
				s.payloads[rec.Index] = p
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	signer, key := newKey(t)
	for _, tc := range []struct {
		from, to uint64
		payload  int
	}{{0, 1, 0}, {0, 256, 1}, {1, 3, PartSize}, {5, 300, PartSize/8 + 1}, {255, 257, 3*PartSize + 1}, {256, 1000, 10}} {
		want := newSample(tc.from, tc.to, tc.payload)
		got, err := read(want.write(t, signer), key)
		if err != nil {
			t.Fatalf("%+v: %v", tc, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v: what was read is not what was written", tc)
		}
	}
}

// Leaves of every length that 16 bits hold are read, up to the largest.
func TestLargestLeaves(t *testing.T) {
	signer, key := newKey(t)
	want := newSample(0, 4, 1)
	for i, size := range []int{0, 65533, 65534, 65535} {
		want.leaves[i] = bytes.Repeat([]byte{byte(i)}, size)
	}
	got, err := read(want.write(t, signer), key)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got.leaves, want.leaves, bytes.Equal) {
		t.Error("the leaves read are not those written")
	}
}

// seal makes a file of blocks around any content, with a good signature.
func seal(t testing.TB, signer note.Signer, from, to uint64, content []byte, edit func(block []byte) []byte) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	out := []byte(Preamble)
	for len(content) > 0 {
		n := min(len(content), maxRaw)
		data := enc.EncodeAll(content[:n], nil)
		sum := sha256.Sum256(data)
		block := binary.BigEndian.AppendUint32([]byte{blockMark}, uint32(len(data)))
		block = binary.BigEndian.AppendUint32(block, uint32(n))
		block = append(append(block, sum[:]...), data...)
		if edit != nil {
			block = edit(block)
		}
		out, content = append(out, block...), content[n:]
	}
	n, err := sealer(signer)(noteText(&Header{Origin: testOrigin, From: from, To: to}, uint64(len(out)), sha256.Sum256(out)))
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(append(out, endMark), uint32(len(n))), n...)
}

func contentOf(t testing.TB, file []byte, key note.Verifier) []byte {
	t.Helper()
	f, err := Check(bytes.NewReader(file), int64(len(file)), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	dec, _ := zstd.NewReader(nil)
	defer dec.Close()
	var content []byte
	for rest := file[len(Preamble):f.length]; len(rest) > 0; {
		n := binary.BigEndian.Uint32(rest[1:])
		if content, err = dec.DecodeAll(rest[blockHead:blockHead+n], content); err != nil {
			t.Fatal(err)
		}
		rest = rest[blockHead+n:]
	}
	return content
}

// Content that no honest writer makes, under a good signature, ends in
// ErrFormat, or is another delta in the right form.
func TestRandomContent(t *testing.T) {
	signer, key := newKey(t)
	content := contentOf(t, newSample(3, 9, 40).write(t, signer), key)
	if s, err := read(seal(t, signer, 3, 9, content, nil), key); err != nil || len(s.leaves) != 6 {
		t.Fatalf("the content as it was: %v", err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 600 {
		c := slices.Clone(content)
		for range 1 + rng.IntN(3) {
			switch at := rng.IntN(len(c)); rng.IntN(4) {
			case 0:
				c[at] ^= byte(1 << rng.IntN(8))
			case 1:
				c = slices.Delete(c, at, min(len(c)-1, at+1+rng.IntN(40)))
			case 2:
				c = slices.Insert(c, at, byte(rng.Uint32()))
			case 3:
				binary.BigEndian.PutUint32(c[min(at, len(c)-4):], rng.Uint32())
			}
			if len(c) < 5 {
				c = append(c, 1, 2, 3, 4, 5)
			}
		}
		if _, err := read(seal(t, signer, 3, 9, c, nil), key); err != nil && !errors.Is(err, ErrFormat) {
			t.Fatalf("an error of another name: %v", err)
		}
	}
}

func TestBadBlocks(t *testing.T) {
	signer, key := newKey(t)
	content := contentOf(t, newSample(3, 9, 40).write(t, signer), key)
	enc, _ := zstd.NewWriter(nil)
	rehash := func(b []byte, data []byte) []byte {
		sum := sha256.Sum256(data)
		binary.BigEndian.PutUint32(b[1:], uint32(len(data)))
		return append(append(slices.Clone(b[:9]), sum[:]...), data...)
	}
	for _, tc := range []struct {
		name string
		edit func([]byte) []byte
		want error
		says string
	}{
		{"a bomb", func(b []byte) []byte { return rehash(b, enc.EncodeAll(make([]byte, 500<<20), nil)) }, ErrFormat, "does not decompress"},
		{"another size", func(b []byte) []byte { b[8]++; return b }, ErrFormat, "does not decompress"},
		{"not zstd", func(b []byte) []byte { return rehash(b, []byte("hello")) }, ErrFormat, "does not decompress"},
		{"no size", func(b []byte) []byte { copy(b[5:9], "\x00\x00\x00\x00"); return b }, ErrDamaged, "block 0"},
		{"a larger size", func(b []byte) []byte { b[5] = 1; return b }, ErrDamaged, "block 0"},
		{"another mark", func(b []byte) []byte { b[0] = 3; return b }, ErrDamaged, "block 0"},
		{"a wrong hash", func(b []byte) []byte { b[20]++; return b }, ErrDamaged, "was changed"},
	} {
		_, err := read(seal(t, signer, 3, 9, content, tc.edit), key)
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if _, err := read(seal(t, signer, 3, 10, content, nil), key); !errors.Is(err, ErrFormat) {
		t.Errorf("a signature for other sizes: %v", err)
	}
	other, _ := newKey(t)
	if _, err := read(seal(t, other, 3, 9, content, nil), key); !errors.Is(err, ErrDamaged) {
		t.Errorf("another key: %v", err)
	}
}

// A change of the file between two readings is detected.
func TestChangedMeanwhile(t *testing.T) {
	signer, key := newKey(t)
	file := newSample(0, 300, PartSize/4).write(t, signer)
	f, err := Check(bytes.NewReader(file), int64(len(file)), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	file[len(file)/2] ^= 1
	r, err := f.Open()
	if err == nil {
		defer r.Close()
		for err == nil {
			if _, err = r.Next(); err == nil {
				for {
					var rec *Record
					if rec, err = r.Record(); rec == nil || err != nil {
						break
					}
					if rec.Payload != nil {
						if err = r.Payload(rec, func([]byte) error { return nil }); err != nil {
							break
						}
					}
				}
			}
		}
	}
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

// The header of a delta is strict JSON: no member is missing, null, unknown or
// of another form, even if the log has signed it.
func TestStrictHeader(t *testing.T) {
	signer, key := newKey(t)
	id := strings.Repeat("ab", 32)
	for _, tc := range []struct{ header, want string }{
		// Good headers, after which a frame is missing.
		{`{"origin":"ledger.test/log","from":3,"to":9}`, "frame has the type"},
		{`{"origin":"ledger.test/log","from":3,"to":9,"streams":[{"id":"` + id + `","first":0,"end":6}]}`, "frame has the type"},

		{`{"origin":"ledger.test/log","from":3}`, "to: missing"},
		{`{"origin":"ledger.test/log","from":null,"to":9}`, "from"},
		{`{"origin":"ledger.test/log","from":3,"to":9,"streams":null}`, "streams"},
		{`{"origin":"ledger.test/log","from":3,"to":9,"streams":[]}`, "streams"},
		{`{"origin":"ledger.test/log","from":3,"to":9,"streams":[null]}`, "streams[0]"},
		{`{"origin":"ledger.test/log","from":3,"to":9,"streams":[{"id":"` + id + `","first":0}]}`, "streams[0].end"},
		{`{"origin":"ledger.test/log","from":3,"to":9,"streams":[{"id":null,"first":0,"end":6}]}`, "streams[0].id"},
		{`{"origin":"ledger.test/log","from":3,"to":9,"streams":[{"id":"` + id + `","first":0,"end":7}]}`, "streams[0]"},
		{`{"origin":"ledger.test/log","from":3,"to":9,"streams":[{"id":"` + id + `","first":2,"end":1}]}`, "streams[0]"},
		{`{"origin":"ledger.test/log","From":3,"to":9}`, "from: missing"},
		{`{"origin":"ledger.test/log","from":3,"to":9,"more":1}`, "more"},
		{`{"origin":"ledger.test/log","from":3.0,"to":9}`, "from"},
		{`{"origin":"ledger.test/log","from":3,"from":3,"to":9}`, "from"},
		{`{"origin":"","from":3,"to":9}`, "origin"},
		{"\ufeff" + `{"origin":"ledger.test/log","from":3,"to":9}`, "JSON"},
	} {
		frame := binary.BigEndian.AppendUint32([]byte{headerFrame}, uint32(len(tc.header)))
		frame = append(append(frame, tc.header...), endFrame, 0, 0, 0, 0)
		_, err := read(seal(t, signer, 3, 9, frame, nil), key)
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want an error with %q", tc.header, err, tc.want)
		}
	}
}
