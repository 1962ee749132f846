package receipt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/receipt/strictjson"
)

const (
	proofHeader   = "c2sp.org/tlog-proof@v1\n"
	maxProofSize  = 65536
	maxProofPath  = 63
	maxSignatures = 64
)

// A Proof is a C2SP tlog-proof: that the entry at Index is in the tree that Checkpoint signs.
type Proof struct {
	Index      uint64
	Path       []Hash // RFC 6962 inclusion proof, from the leaf's sibling up
	Checkpoint []byte // signed note, verbatim
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

// ParseProof reads a tlog-proof by the strict rules of docs/spec/receipt.md, section 2. It verifies nothing.
func ParseProof(text string) (*Proof, error) {
	if len(text) > maxProofSize {
		return nil, fmt.Errorf("%d bytes, more than %d", len(text), maxProofSize)
	}
	rest, ok := strings.CutPrefix(text, proofHeader)
	if !ok {
		return nil, errors.New("not a C2SP tlog-proof: its first line is another")
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
			return nil, errors.New("ends before the checkpoint")
		}
		if line == "" {
			break
		}
		h, err := strictjson.ParseBase64(line)
		if err != nil || len(h) != HashSize {
			return nil, fmt.Errorf("hash %d: not base64 of 32 bytes", len(p.Path))
		}
		if len(p.Path) == maxProofPath {
			return nil, fmt.Errorf("more than %d hashes", maxProofPath)
		}
		p.Path = append(p.Path, Hash(h))
	}
	if _, err := parseCheckpoint(rest); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	p.Checkpoint = []byte(rest)
	return p, nil
}

// A Checkpoint is the text of a C2SP tlog-checkpoint without extension lines.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   Hash
}

// Text returns what the log signs.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + c.Root.Base64() + "\n"
}

// Sign returns the signed note over the checkpoint.
func (c Checkpoint) Sign(signers ...note.Signer) ([]byte, error) {
	return note.Sign(&note.Note{Text: c.Text()}, signers...)
}

// ParseCheckpointUnverified reads a signed checkpoint strictly, without looking at what its signatures say.
func ParseCheckpointUnverified(signed []byte) (Checkpoint, error) {
	return parseCheckpoint(string(signed))
}

func parseCheckpoint(signed string) (Checkpoint, error) {
	text, sigs, ok := strings.Cut(signed, "\n\n")
	if !ok {
		return Checkpoint{}, errors.New("not a signed note")
	}
	lines := strings.Split(text, "\n")
	if len(lines) != 3 || lines[0] == "" {
		return Checkpoint{}, errors.New("not three lines: origin, size and root (extension lines are not allowed)")
	}
	size, err := strictjson.ParseInteger(lines[1])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("size: %w", err)
	}
	root, err := strictjson.ParseBase64(lines[2])
	if err != nil || len(root) != HashSize {
		return Checkpoint{}, errors.New("root: not base64 of 32 bytes")
	}
	n := 0
	for sigs != "" {
		var line string
		if line, sigs, ok = strings.Cut(sigs, "\n"); !ok {
			return Checkpoint{}, errors.New("the last line is not ended")
		}
		line, dash := strings.CutPrefix(line, "— ")
		name, b64, sep := strings.Cut(line, " ")
		sig, err := strictjson.ParseBase64(b64)
		if !dash || !sep || name == "" || err != nil || len(sig) < 5 {
			return Checkpoint{}, fmt.Errorf("signature line %d: malformed", n+1)
		}
		if n++; n > maxSignatures {
			return Checkpoint{}, fmt.Errorf("more than %d signature lines", maxSignatures)
		}
	}
	if n == 0 {
		return Checkpoint{}, errors.New("no signature line")
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: Hash(root)}, nil
}
