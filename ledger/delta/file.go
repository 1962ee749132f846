package delta

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
)

// A File is a delta whose bytes were all checked. It can be read several times.
// Each pass must find the blocks that the check found.
type File struct {
	r      io.ReaderAt
	length uint64 // of Preamble and blocks
	blocks []entry.Hash
	from   uint64
	to     uint64

	Digest entry.Hash // of Preamble and blocks; identifies the delta
}

// Check reads the whole file and verifies its signature by the key. All errors
// except read errors wrap ErrDamaged. Check needs 32 bytes of memory per MiB of
// content. progress may be nil.
func Check(r io.ReaderAt, size int64, key note.Verifier, progress func(done, total uint64)) (*File, error) {
	f := &File{r: r}
	in := &hashed{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 1<<20), sum: sha256.New()}
	head := make([]byte, len(Preamble))
	if err := in.full(head); err != nil {
		return nil, damaged("the file has no first line", err)
	}
	if string(head) != Preamble {
		return nil, fmt.Errorf("%w: the first line is not a delta's", ErrDamaged)
	}
	data := make([]byte, maxStored)
	for {
		f.length, f.Digest = in.n, entry.Hash(in.sum.Sum(nil))
		var mark [1]byte
		if err := in.full(mark[:]); err != nil {
			return nil, damaged(fmt.Sprintf("it ends after block %d", len(f.blocks)), err)
		}
		if mark[0] == endMark {
			break
		}
		stored, _, want, err := readBlockHead(in, mark[0])
		if err != nil {
			return nil, damaged(fmt.Sprintf("block %d, at byte %d", len(f.blocks), f.length), err)
		}
		if err := in.full(data[:stored]); err != nil {
			return nil, damaged(fmt.Sprintf("block %d, at byte %d, is truncated", len(f.blocks), f.length), err)
		}
		if sha256.Sum256(data[:stored]) != want {
			return nil, fmt.Errorf("%w: block %d, at byte %d, was changed; copy the file again", ErrDamaged, len(f.blocks), f.length)
		}
		f.blocks = append(f.blocks, want)
		if progress != nil {
			progress(in.n, uint64(size))
		}
	}
	if err := f.checkNote(in, key); err != nil {
		return nil, err
	}
	if n, err := in.r.Read(data[:1]); n > 0 || err != io.EOF {
		return nil, fmt.Errorf("%w: data after the signature", ErrDamaged)
	}
	return f, nil
}

func damaged(what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errBlock) {
		return fmt.Errorf("%w: %s (%v); copy the file again", ErrDamaged, what, err)
	}
	return fmt.Errorf("read the delta: %w", err)
}

var errBlock = errors.New("malformed")

// readBlockHead reads the head of a block, after the mark.
func readBlockHead(r interface{ full([]byte) error }, mark byte) (stored, raw int, sum entry.Hash, err error) {
	var head [blockHead - 1]byte
	if mark != blockMark {
		return 0, 0, sum, errBlock
	}
	if err := r.full(head[:]); err != nil {
		return 0, 0, sum, err
	}
	s, n := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	if s > maxStored || n == 0 || n > maxRaw {
		return 0, 0, sum, errBlock
	}
	return int(s), int(n), entry.Hash(head[8:]), nil
}

// checkNote reads and checks the trailer, after the mark.
func (f *File) checkNote(in *hashed, key note.Verifier) error {
	var head [4]byte
	if err := in.full(head[:]); err != nil {
		return damaged("the signature is truncated", err)
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > maxNote {
		return fmt.Errorf("%w: the signature has a length of %d bytes", ErrDamaged, length)
	}
	signed := make([]byte, length)
	if err := in.full(signed); err != nil {
		return damaged("the signature is truncated", err)
	}
	n, err := note.Open(signed, note.VerifierList(key))
	if err != nil {
		return fmt.Errorf("%w: the signature is not by the log %s (%v): check that the policy is for this log", ErrDamaged, key.Name(), err)
	}
	sig, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if again := n.Text + "\n— " + key.Name() + " " + base64.StdEncoding.EncodeToString(sig) + "\n"; err != nil || again != string(signed) {
		return fmt.Errorf("%w: the signature is not in canonical form", ErrDamaged)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 6 || lines[0]+"\n" != Preamble {
		return fmt.Errorf("%w: the signature is not for a delta", ErrDamaged)
	}
	from, to, _ := strings.Cut(lines[2], " ")
	if f.from, err = strconv.ParseUint(from, 10, 53); err == nil {
		f.to, err = strconv.ParseUint(to, 10, 53)
	}
	if err != nil || n.Text != noteText(&Header{Origin: key.Name(), From: f.from, To: f.to}, f.length, f.Digest) {
		return fmt.Errorf("%w: it is not the signed file", ErrDamaged)
	}
	return nil
}

// A hashed reader counts and hashes the bytes that it reads.
type hashed struct {
	r   *bufio.Reader
	sum hash.Hash
	n   uint64
}

func (h *hashed) full(b []byte) error {
	n, err := io.ReadFull(h.r, b)
	h.sum.Write(b[:n])
	h.n += uint64(n)
	return err
}
