package sigstore

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"muniment.dev/muniment/ledger/entry"
)

// An Artifact is the expected subject of a bundle, given as a file or a digest.
type Artifact struct {
	digests map[string][]byte // by in-toto's algorithm names
	content io.ReadSeeker     // nil if only a digest is known
}

// maxSignedContent is the size limit of artifacts that are read into memory.
// Only pure Ed25519 requires that.
const maxSignedContent = 256 << 20

// ReadArtifact hashes an artifact of any size. Verify may read r again, so r
// must stay open until then.
func ReadArtifact(r io.ReadSeeker) (*Artifact, error) {
	hashes := map[string]hash.Hash{"sha256": sha256.New(), "sha384": sha512.New384(), "sha512": sha512.New()}
	if _, err := io.Copy(io.MultiWriter(hashes["sha256"], hashes["sha384"], hashes["sha512"]), r); err != nil {
		return nil, err
	}
	a := &Artifact{digests: map[string][]byte{}, content: r}
	for name, h := range hashes {
		a.digests[name] = h.Sum(nil)
	}
	return a, nil
}

// ArtifactDigest returns the artifact with a digest in the form sha256: and 64
// hexadecimal digits, in either case.
func ArtifactDigest(s string) (*Artifact, error) {
	folded, err := entry.ParseDigest(s)
	digits, ok := strings.CutPrefix(folded.String(), "sha256:")
	d, _ := hex.DecodeString(digits)
	if !ok || err != nil || len(d) != sha256.Size {
		return nil, fmt.Errorf("%q is not sha256: and 64 hexadecimal digits", s)
	}
	return &Artifact{digests: map[string][]byte{"sha256": d}}, nil
}

// Digest returns the SHA-256 of the artifact as sha256: and hexadecimal digits.
func (a *Artifact) Digest() string { return "sha256:" + hex.EncodeToString(a.digests["sha256"]) }

// IsOneOf reports whether the artifact is one of the subjects. A subject must
// have at least one digest in common with the artifact, and none that
// contradicts it.
func (a *Artifact) IsOneOf(subjects []entry.Subject) bool {
	for _, s := range subjects {
		same, differs := 0, 0
		for name, want := range a.digests {
			switch got, ok := s.Digest[name]; {
			case !ok:
			case strings.EqualFold(got, hex.EncodeToString(want)):
				same++
			default:
				differs++
			}
		}
		if same > 0 && differs == 0 {
			return true
		}
	}
	return false
}

// errContent is wrapped by errors about signatures that cannot be checked
// without the whole artifact.
var errContent = errors.New("a pure Ed25519 signature cannot be checked against a digest")

// message reads the artifact into memory again and checks that it has not
// changed.
func (a *Artifact) message() ([]byte, error) {
	if a == nil || a.content == nil {
		return nil, fmt.Errorf("it was not signed with the key by Ed25519ph, and %w: specify the artifact itself", errContent)
	}
	if _, err := a.content.Seek(0, io.SeekStart); err != nil {
		return nil, &readError{err}
	}
	data, err := io.ReadAll(io.LimitReader(a.content, maxSignedContent+1))
	if err != nil {
		return nil, &readError{err}
	}
	if len(data) > maxSignedContent {
		return nil, fmt.Errorf("%w, and the artifact has more than %d bytes: sign with Ed25519ph", errContent, maxSignedContent)
	}
	if sum := sha256.Sum256(data); !bytes.Equal(sum[:], a.digests["sha256"]) {
		return nil, errors.New("the artifact changed while it was being read")
	}
	return data, nil
}
