package entry

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
)

// HashSize is the size of every hash, salt, tag and key of the entry format, in
// bytes.
const HashSize = 32

// LeafSize is the size of the leaf data of an entry, in bytes.
const LeafSize = 1 + HashSize + HashSize

// entryVersion is the first byte of the leaf data.
const entryVersion = 0x02

// A Hash is a SHA-256 hash or an HMAC-SHA-256 tag.
type Hash [HashSize]byte

// String returns the hash in lowercase hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Base64 returns the hash in padded standard base64.
func (h Hash) Base64() string { return base64.StdEncoding.EncodeToString(h[:]) }

// ByteSlices returns the hashes as slices of bytes, which share their memory.
func ByteSlices(hashes []Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

// A Salt hides the data that it is hashed with. Each salt is used for one part
// of one entry.
type Salt [HashSize]byte

// NewSalts draws the three salts of an entry from the system's CSPRNG. Drawing
// them in one call costs a third of three calls.
func NewSalts() (link, header, payload Salt) {
	var all [3 * HashSize]byte
	rand.Read(all[:]) // never fails: see crypto/rand
	return Salt(all[:HashSize]), Salt(all[HashSize : 2*HashSize]), Salt(all[2*HashSize:])
}

// A StreamKey is the secret with which a tenant's leaves are found in the log.
type StreamKey [HashSize]byte

// StreamID returns the ID of the key's stream. It does not reveal the key.
func (k *StreamKey) StreamID() Hash {
	h := sha256.New()
	h.Write([]byte("muniment/stream/v1\n"))
	h.Write(k[:])
	return Hash(h.Sum(nil))
}

// Tag returns the tag of the entry with sequence number seq of the key's
// stream.
func (k *StreamKey) Tag(seq uint64) Hash {
	const prefix = "muniment/tag/v1\n"
	var in [len(prefix) + 8]byte
	copy(in[:], prefix)
	binary.BigEndian.PutUint64(in[len(prefix):], seq)
	m := hmac.New(sha256.New, k[:])
	m.Write(in[:])
	return Hash(m.Sum(nil))
}

// Commitment returns C, the salted hash of a payload.
func Commitment(salt Salt, payload []byte) Hash {
	return saltedHash("muniment/payload/v1\n", salt, payload)
}

// HeaderHash returns H, the salted hash of a header.
func HeaderHash(salt Salt, header []byte) Hash {
	return saltedHash("muniment/header/v1\n", salt, header)
}

// NewCommitment returns a hash whose sum is the Commitment to the payload
// written to it.
func NewCommitment(salt Salt) hash.Hash {
	h := sha256.New()
	h.Write([]byte("muniment/payload/v1\n"))
	h.Write(salt[:])
	return h
}

func saltedHash(prefix string, salt Salt, data []byte) Hash {
	h := sha256.New()
	h.Write([]byte(prefix))
	h.Write(salt[:])
	h.Write(data)
	return Hash(h.Sum(nil))
}

// LinkHash returns L, the salted hash of an entry's place in its stream.
func LinkHash(salt Salt, streamID Hash, seq uint64, prev Hash) Hash {
	const prefix = "muniment/link/v1\n"
	var in [len(prefix) + 3*HashSize + 8]byte
	b := append(in[:0], prefix...)
	b = append(b, salt[:]...)
	b = append(b, streamID[:]...)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = append(b, prev[:]...)
	return sha256.Sum256(b)
}

// An OriginHash binds a leaf to its log. It has its own type so that it is not
// confused with other hashes.
type OriginHash [HashSize]byte

// HashOrigin returns O, the hash of a log's origin.
func HashOrigin(origin string) OriginHash {
	h := sha256.New()
	h.Write([]byte("muniment/origin/v1\n"))
	h.Write([]byte(origin))
	return OriginHash(h.Sum(nil))
}

// EntryHash returns the hash that follows the tag in a leaf.
func EntryHash(origin OriginHash, link Hash, timeMillis uint64, header Hash) Hash {
	const prefix = "muniment/entry/v2\n"
	var in [len(prefix) + 3*HashSize + 8]byte
	b := append(in[:0], prefix...)
	b = append(b, origin[:]...)
	b = append(b, link[:]...)
	b = binary.BigEndian.AppendUint64(b, timeMillis)
	b = append(b, header[:]...)
	return sha256.Sum256(b)
}

// LeafData returns an entry's data in the tree.
func LeafData(tag, entryHash Hash) [LeafSize]byte {
	var d [LeafSize]byte
	d[0] = entryVersion
	copy(d[1:], tag[:])
	copy(d[1+HashSize:], entryHash[:])
	return d
}

// CheckLeaf returns an error if data cannot be the leaf data of an entry.
func CheckLeaf(data []byte) error {
	if len(data) != LeafSize {
		return fmt.Errorf("leaf data of %d bytes instead of %d", len(data), LeafSize)
	}
	if data[0] != entryVersion {
		return fmt.Errorf("leaf data that begins with 0x%02x instead of 0x%02x", data[0], entryVersion)
	}
	return nil
}

// LeafHash returns the RFC 6962 leaf hash of the data.
func LeafHash(data []byte) Hash {
	if len(data) == LeafSize { // the common case, without an allocation
		var in [1 + LeafSize]byte
		copy(in[1:], data)
		return sha256.Sum256(in[:])
	}
	h := sha256.New()
	h.Write([]byte{0x00})
	h.Write(data)
	return Hash(h.Sum(nil))
}

// NodeHash returns the RFC 6962 hash of an inner node.
func NodeHash(left, right *Hash) Hash {
	var in [1 + 2*HashSize]byte
	in[0] = 0x01
	copy(in[1:], left[:])
	copy(in[1+HashSize:], right[:])
	return sha256.Sum256(in[:])
}

// A Skeleton is the part of an entry that the log keeps forever. It determines
// the leaf. See docs/spec/entry.md, section 5.
type Skeleton struct {
	Tag        Hash
	LinkSalt   Salt
	StreamID   Hash
	Seq        uint64
	Prev       Hash   // leaf hash of the stream's previous entry; zero when Seq is 0
	Time       uint64 // Unix milliseconds
	HeaderHash Hash
}

// Link returns the skeleton's link hash.
func (s *Skeleton) Link() Hash { return LinkHash(s.LinkSalt, s.StreamID, s.Seq, s.Prev) }

// LeafData returns the data of the skeleton's entry in the tree of the log.
func (s *Skeleton) LeafData(log OriginHash) [LeafSize]byte {
	return LeafData(s.Tag, EntryHash(log, s.Link(), s.Time, s.HeaderHash))
}

// LeafHash returns the leaf hash of the skeleton's entry in the log.
func (s *Skeleton) LeafHash(log OriginHash) Hash {
	d := s.LeafData(log)
	return LeafHash(d[:])
}

// ParseHash reads a hash in hexadecimal of either case.
func ParseHash(s string) (Hash, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != HashSize {
		return Hash{}, errors.New("must be 64 hexadecimal digits")
	}
	return Hash(b), nil
}
