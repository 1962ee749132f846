package receipt

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
)

// The limits of signed checkpoints and proofs in docs/spec/receipt.md, section
// 2. MaxCheckpointSize applies to every signed note of a log. MaxProofSize
// leaves room for the longest inclusion proof.
const (
	MaxCheckpointSize = 258_048
	MaxProofSize      = 262_144
	MaxSignatures     = 100 // lines; sumdb/note reads no more
)

const (
	proofHeader  = "c2sp.org/tlog-proof@v1\n"
	maxProofPath = 63
)

// A Proof is a C2SP tlog-proof that the entry at Index is in the tree of the
// checkpoint.
type Proof struct {
	Index      uint64
	Path       []entry.Hash // RFC 6962 inclusion proof, from the leaf's sibling up
	Checkpoint []byte       // signed note, verbatim
}

// AppendText appends the proof in the tlog-proof format.
func (p *Proof) AppendText(b []byte) []byte {
	b = append(b, proofHeader...)
	b = append(b, "index "...)
	b = strconv.AppendUint(b, p.Index, 10)
	b = append(b, '\n')
	for i := range p.Path {
		b = base64.StdEncoding.AppendEncode(b, p.Path[i][:])
		b = append(b, '\n')
	}
	b = append(b, '\n')
	return append(b, p.Checkpoint...)
}

// ParseProof reads a tlog-proof by the strict rules of docs/spec/receipt.md,
// section 2. It verifies nothing.
func ParseProof(text string) (*Proof, error) {
	if len(text) > MaxProofSize {
		return nil, fmt.Errorf("%d bytes, more than %d", len(text), MaxProofSize)
	}
	rest, ok := strings.CutPrefix(text, proofHeader)
	if !ok {
		return nil, errors.New("not a C2SP tlog-proof: wrong first line")
	}
	line, rest, ok := strings.Cut(rest, "\n")
	index, found := strings.CutPrefix(line, "index ")
	if !ok || !found {
		return nil, errors.New("no index line (an extra line is not allowed)")
	}
	p := &Proof{}
	var err error
	if p.Index, err = strictjson.ParseInteger(index); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	for {
		if line, rest, ok = strings.Cut(rest, "\n"); !ok {
			return nil, errors.New("the proof ends before the checkpoint")
		}
		if line == "" {
			break
		}
		h, err := strictjson.ParseBase64(line)
		if err != nil || len(h) != entry.HashSize {
			return nil, fmt.Errorf("hash %d: not base64 of 32 bytes", len(p.Path))
		}
		if len(p.Path) == maxProofPath {
			return nil, fmt.Errorf("more than %d hashes", maxProofPath)
		}
		p.Path = append(p.Path, entry.Hash(h))
	}
	if _, err := parseSigned(rest); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	p.Checkpoint = []byte(rest)
	return p, nil
}

// A Checkpoint is the text of a C2SP tlog-checkpoint without extension lines.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   entry.Hash
}

// Text returns the text that the log signs.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + c.Root.Base64() + "\n"
}

// Sign returns the signed note over the checkpoint.
func (c Checkpoint) Sign(signers ...note.Signer) ([]byte, error) {
	return note.Sign(&note.Note{Text: c.Text()}, signers...)
}

// ParseCheckpointUnverified reads a signed checkpoint strictly, without
// verifying its signatures.
func ParseCheckpointUnverified(signed []byte) (Checkpoint, error) {
	s, err := parseSigned(string(signed))
	if err != nil {
		return Checkpoint{}, err
	}
	return s.Checkpoint, nil
}

// A signedCheckpoint is a checkpoint with its unverified signature lines.
type signedCheckpoint struct {
	Checkpoint
	text  string // the signed text
	lines []signatureLine
}

type signatureLine struct {
	key  keyID
	sig  []byte // without the key hash
	line string // verbatim, with its line feed
}

// A keyID identifies a key in a signature line.
type keyID struct {
	name string
	hash uint32
}

func (k keyID) String() string { return fmt.Sprintf("%s+%08x", k.name, k.hash) }

func parseSigned(signed string) (*signedCheckpoint, error) {
	if len(signed) > MaxCheckpointSize {
		return nil, fmt.Errorf("%d bytes, more than %d", len(signed), MaxCheckpointSize)
	}
	text, sigs, ok := strings.Cut(signed, "\n\n")
	if !ok {
		return nil, errors.New("not a signed note")
	}
	if !utf8.ValidString(signed) || strings.ContainsFunc(signed, func(c rune) bool { return c < ' ' && c != '\n' }) {
		return nil, errors.New("not valid UTF-8, or contains a control character")
	}
	lines := strings.Split(text, "\n")
	if len(lines) != 3 || lines[0] == "" {
		return nil, errors.New("not three lines: origin, size and root (extension lines are not allowed)")
	}
	s := &signedCheckpoint{text: text + "\n"}
	s.Origin = lines[0]
	var err error
	if s.Size, err = strictjson.ParseInteger(lines[1]); err != nil {
		return nil, fmt.Errorf("size: %w", err)
	}
	root, err := strictjson.ParseBase64(lines[2])
	if err != nil || len(root) != entry.HashSize {
		return nil, errors.New("root: not base64 of 32 bytes")
	}
	s.Root = entry.Hash(root)
	for sigs != "" {
		var line string
		if line, sigs, ok = strings.Cut(sigs, "\n"); !ok {
			return nil, errors.New("the last line does not end with a line feed")
		}
		l, err := parseSignature(line)
		if err != nil {
			return nil, fmt.Errorf("signature line %d: %w", len(s.lines)+1, err)
		}
		if len(s.lines) == MaxSignatures {
			return nil, fmt.Errorf("more than %d signature lines", MaxSignatures)
		}
		s.lines = append(s.lines, l)
	}
	if len(s.lines) == 0 {
		return nil, errors.New("no signature line")
	}
	return s, nil
}

func parseSignature(line string) (signatureLine, error) {
	rest, dash := strings.CutPrefix(line, "— ")
	name, b64, sep := strings.Cut(rest, " ")
	sig, err := strictjson.ParseBase64(b64)
	if !dash || !sep || !isKeyName(name) || err != nil || len(sig) < 5 {
		return signatureLine{}, errors.New("malformed")
	}
	return signatureLine{keyID{name, binary.BigEndian.Uint32(sig)}, sig[4:], line + "\n"}, nil
}

// isKeyName reports whether name is valid for a key of a signed note.
func isKeyName(name string) bool {
	return name != "" && utf8.ValidString(name) && !strings.Contains(name, "+") && !strings.ContainsFunc(name, unicode.IsSpace)
}
