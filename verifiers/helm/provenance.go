package helm

import (
	"bufio"
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"helm.sh/helm/v4/pkg/provenance"

	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
)

// MediaType is the media type of a provenance file in a registry.
const MediaType = "application/vnd.cncf.helm.chart.provenance.v1.prov"

// Begin is the first line of a signed PGP message.
var Begin = []byte("-----BEGIN PGP SIGNED MESSAGE-----")

// A Keyring contains the PGP keys of accepted signers.
type Keyring struct{ entities openpgp.EntityList }

// ParseKeyring reads a keyring: the output of gpg --export, armored or not, or
// GnuPG's own pubring.gpg or pubring.kbx. The error wraps ErrMalformed.
func ParseKeyring(data []byte) (*Keyring, error) {
	if len(data) > MaxKeyring {
		return nil, plain.Malformed(ErrMalformed, "keyring", fmt.Errorf("more than %d bytes", MaxKeyring))
	}
	read := readOther
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN PGP")) {
		read = readArmored
	}
	entities, err := read(data)
	if err == nil && len(entities) == 0 {
		err = errors.New("no key found")
	}
	if err != nil {
		return nil, plain.Malformed(ErrMalformed, "keyring", err)
	}
	return &Keyring{entities}, nil
}

// readArmored reads the keys of all blocks. The OpenPGP library's function
// ignores all but the first.
func readArmored(data []byte) (openpgp.EntityList, error) {
	var all openpgp.EntityList
	for r := bufio.NewReader(bytes.NewReader(data)); ; {
		// armor.Decode continues with the same reader
		block, err := armor.Decode(r)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, pgpReason(err)
		}
		if block.Type != openpgp.PublicKeyType && block.Type != openpgp.PrivateKeyType {
			return nil, fmt.Errorf("not a PGP key: the file contains a %q block", block.Type)
		}
		entities, err := openpgp.ReadKeyRing(block.Body)
		if err != nil {
			return nil, pgpReason(err)
		}
		all = append(all, entities...)
	}
}

// readOther reads a keyring that is not armored. Helm's library detects the
// form and accepts only files.
func readOther(data []byte) (openpgp.EntityList, error) {
	f, err := os.CreateTemp("", "keyring")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	s, err := provenance.NewFromKeyring(f.Name(), "")
	if err != nil {
		return nil, pgpReason(err)
	}
	return s.KeyRing, nil
}

// A Provenance is the content of a provenance file.
type Provenance struct {
	Chart   string            // name in the chart's metadata
	Version string            // likewise
	Files   map[string]string // name of a file, such as gateway-1.7.0.tgz, to sha256:…
	// Fingerprint is the fingerprint of the signer's primary key, in
	// hexadecimal. It is empty unless the signature was verified.
	Fingerprint string
	Identity    string    // user ID of that key in the keyring
	SignedAt    time.Time // claimed by the signer
}

// Subjects returns the files as subjects of a header.
func (p *Provenance) Subjects() []entry.Subject {
	var out []entry.Subject
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		out = append(out, entry.Subject{Name: name, Digest: map[string]string{"sha256": strings.TrimPrefix(p.Files[name], "sha256:")}})
	}
	return out
}

// Signer returns the signer for a header.
func (p *Provenance) Signer() entry.Signer {
	return entry.Signer{Identity: p.Identity, KeyID: keyID(p.Fingerprint)}
}

func keyID(fingerprint string) string { return "pgp:" + fingerprint }

// Parse reads a provenance file without verifying its signature. The error
// wraps ErrMalformed.
func Parse(prov []byte) (*Provenance, error) {
	p, _, err := parse(prov)
	if err != nil {
		return nil, plain.Malformed(ErrMalformed, "chart provenance", err)
	}
	return p, nil
}

func parse(prov []byte) (*Provenance, *clearsign.Block, error) {
	if len(prov) > MaxProvenance {
		return nil, nil, fmt.Errorf("more than %d bytes", MaxProvenance)
	}
	block, rest := decode(prov)
	if block == nil {
		return nil, nil, errors.New("no PGP signed message found: a .prov file begins with -----BEGIN PGP SIGNED MESSAGE-----")
	}
	if outside := prov[:bytes.Index(prov, Begin)]; len(bytes.TrimSpace(outside)) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, nil, errors.New("unsigned text outside of the PGP signed message")
	}
	p, err := readMessage(block.Plaintext)
	if err != nil {
		return nil, nil, err
	}
	return p, block, nil
}

// messageEnd separates the YAML documents of a signed message.
var messageEnd = []byte("\n...\n")

// readMessage reads the signed message: the chart's metadata, and a map from
// file names to digests. Like Helm, it ignores any further text.
func readMessage(text []byte) (*Provenance, error) {
	documents := bytes.SplitN(text, messageEnd, 3)
	if len(documents) < 2 {
		return nil, errors.New("the message contains no digests of files after the chart's metadata")
	}
	m, err := readMetadata(documents[0])
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	digests, err := TextMap(documents[1], "files")
	if err != nil {
		return nil, err
	}
	p := &Provenance{Chart: m.Name, Version: m.Version, Files: map[string]string{}}
	for name, text := range digests {
		d, err := entry.ParseDigest(text)
		if err != nil || !strings.HasPrefix(d.String(), "sha256:") {
			return nil, fmt.Errorf("files: %q: must be sha256: and 64 hexadecimal digits", name)
		}
		p.Files[name] = d.String()
	}
	return p, nil
}

// decode calls clearsign.Decode, which panics on some incomplete messages, such
// as one without a line.
func decode(prov []byte) (block *clearsign.Block, rest []byte) {
	defer func() {
		if recover() != nil {
			block, rest = nil, prov
		}
	}()
	return clearsign.Decode(prov)
}

// signatureHashes lists the accepted hashes. SHA-1 and older ones are broken.
var signatureHashes = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

// Verify checks that a provenance file was signed with a key of the keyring.
// Expired and revoked keys do not count. The error wraps ErrMalformed or
// ErrNotVerified. Use Check to compare the file with an archive.
func (k *Keyring) Verify(prov []byte) (*Provenance, error) {
	p, block, err := parse(prov)
	if err != nil {
		return nil, plain.Malformed(ErrMalformed, "chart provenance", err)
	}
	sig, by, err := openpgp.VerifyDetachedSignature(k.entities, bytes.NewReader(block.Bytes), block.ArmoredSignature.Body, &packet.Config{})
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		err = errors.New("made with a key that is not in the keyring")
	case err != nil:
		err = pgpReason(err)
	case !slices.Contains(signatureHashes, sig.Hash):
		err = fmt.Errorf("hash %s is not secure", sig.Hash)
	}
	if err != nil {
		return nil, fmt.Errorf("chart provenance: %w: signature: %w", ErrNotVerified, err)
	}
	p.Fingerprint, p.SignedAt = hex.EncodeToString(by.PrimaryKey.Fingerprint), sig.CreationTime.UTC()
	if id := by.PrimaryIdentity(); id != nil {
		p.Identity = id.Name
	}
	return p, nil
}

// Check returns an error unless the provenance is about the archive: it must
// have the same digest, name and version. The file name of the archive does not
// matter. The error wraps ErrNotVerified.
func (p *Provenance) Check(a *Archive) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("chart provenance: %w: %s", ErrNotVerified, fmt.Sprintf(format, args...))
	}
	if !slices.Contains(slices.Collect(maps.Values(p.Files)), a.Digest) {
		return fail("the archive %s has the digest %s, but the signed digest is that of %s", a, a.Digest, p.files())
	}
	if a.Name != p.Chart || a.Version != p.Version {
		return fail("the archive contains the chart %s, but the signed metadata names %s-%s", a, p.Chart, p.Version)
	}
	return nil
}

func (p *Provenance) files() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		out = append(out, name+" "+p.Files[name])
	}
	return strings.Join(out, ", ")
}
