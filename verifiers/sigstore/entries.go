package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"muniment.dev/muniment/ledger/entry/strictjson"
)

// checkLogEntries is step 4.
func (a *attempt) checkLogEntries() *Refusal {
	if len(a.entries) == 0 {
		return refuse("entry-missing", "the bundle has no log entry, but one is required")
	}
	seen := map[string]bool{}
	for _, e := range a.entries {
		id := fmt.Sprintf("%x %d", e.log, e.index)
		if seen[id] {
			return refuse("entry-duplicate", "two log entries have the same log and index")
		}
		seen[id] = true
	}
	known := false
	for i := range a.entries {
		e := &a.entries[i]
		if r := a.checkBody(e); r != nil {
			return r
		}
		log := a.logOf(e)
		if log == nil {
			continue
		}
		known = true
		if e.promise != nil {
			if r := checkPromise(e, log); r != nil {
				return r
			}
		}
		if e.proof != nil {
			if r := checkProof(e, log); r != nil {
				return r
			}
		}
	}
	if !known {
		return refuse("log-unknown", "the trusted root has none of the logs of the bundle's entries")
	}
	return nil
}

func (a *attempt) logOf(e *entryDocument) *root.TransparencyLog {
	return a.root.material.RekorLogs()[hex.EncodeToString(e.log)]
}

func validityOf(log *root.TransparencyLog) Validity {
	return Validity{optionalTime(log.ValidityPeriodStart), optionalTime(log.ValidityPeriodEnd)}
}

// checkPromise verifies the signature of a Rekor v1 log over an entry and its
// time.
func checkPromise(e *entryDocument, log *root.TransparencyLog) *Refusal {
	if !validityOf(log).Contains(time.Unix(e.integratedTime, 0)) {
		return refuse("log-validity", "the log's key is not valid at the time of the entry")
	}
	text := fmt.Sprintf(`{"body":"%s","integratedTime":%d,"logID":"%x","logIndex":%d}`, base64.StdEncoding.EncodeToString(e.body), e.integratedTime, e.log, e.index)
	digest := sha256.Sum256([]byte(text))
	if k := rekorV1Key(log.PublicKey); e.isV2() || k == nil || !ecdsa.VerifyASN1(k, digest[:], e.promise) {
		return refuse("promise-signature", "the inclusion promise was not signed by the log")
	}
	return nil
}

func rekorV1Key(public crypto.PublicKey) *ecdsa.PublicKey {
	if k, ok := public.(*ecdsa.PublicKey); ok && k.Curve == elliptic.P256() {
		return k
	}
	return nil
}

func checkProof(e *entryDocument, log *root.TransparencyLog) *Refusal {
	c, err := openCheckpoint(e, log)
	p := e.proof
	switch {
	case err != nil:
		return refuse("checkpoint-invalid", "checkpoint: %w", err)
	case c.size != p.size || !bytes.Equal(c.root, p.root):
		return refuse("checkpoint-mismatch", "the checkpoint is of another tree than the inclusion proof")
	case e.isV2() && e.index != p.index:
		return refuse("checkpoint-mismatch", "the entry and its inclusion proof have different indexes")
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(e.body)
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(p.index), uint64(p.size), leaf, p.hashes, p.root); err != nil {
		return refuse("inclusion", "%w", err)
	}
	return nil
}

type treeHead struct {
	origin string
	size   int64
	root   []byte
}

type noteSignature struct {
	name string
	hash []byte
	sig  []byte
}

var rekorV1Origin = regexp.MustCompile(` - [0-9]+$`)

// openCheckpoint reads an entry's checkpoint and verifies the log's signature.
func openCheckpoint(e *entryDocument, log *root.TransparencyLog) (*treeHead, error) {
	text, lines, err := splitNote(e.proof.checkpoint)
	if err != nil {
		return nil, err
	}
	head, err := parseTreeHead(text)
	if err != nil {
		return nil, err
	}
	if !e.isV2() {
		return head, checkV1Note(head, text, lines, log.PublicKey)
	}
	if host := hostOf(log.BaseURL); host == "" || host != head.origin {
		return nil, fmt.Errorf("the origin %.80q is not the host of the log's URL", head.origin)
	}
	return head, checkV2Note(head, text, lines, log.PublicKey)
}

func splitNote(note string) (text string, lines []noteSignature, err error) {
	if len(note) > maxCheckpoint || !utf8.ValidString(note) || strings.ContainsFunc(note, func(r rune) bool { return r < 0x20 && r != '\n' }) {
		return "", nil, fmt.Errorf("not a signed note")
	}
	i := strings.LastIndex(note, "\n\n")
	if i < 0 || !strings.HasSuffix(note, "\n") {
		return "", nil, fmt.Errorf("not a signed note")
	}
	text = note[:i+1]
	block := strings.TrimSuffix(note[i+2:], "\n")
	for line := range strings.SplitSeq(block, "\n") {
		rest, dash := strings.CutPrefix(line, "\u2014 ")
		name, encoded, ok := strings.Cut(rest, " ")
		sig, err := strictjson.ParseBase64(encoded)
		if !dash || !ok || err != nil || len(sig) < 5 || name == "" || strings.Contains(name, "+") || strings.ContainsFunc(name, unicode.IsSpace) || len(lines) == 100 {
			return "", nil, fmt.Errorf("malformed signature line")
		}
		lines = append(lines, noteSignature{name, sig[:4], sig[4:]})
	}
	return text, lines, nil
}

func parseTreeHead(text string) (*treeHead, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] == "" {
		return nil, fmt.Errorf("fewer than three lines")
	}
	size, err := strictjson.ParseInteger(lines[1])
	if err != nil {
		return nil, fmt.Errorf("tree size: %w", err)
	}
	hash, err := strictjson.ParseBase64(lines[2])
	if err != nil || len(hash) != 32 {
		return nil, fmt.Errorf("the root is not 32 bytes in base64")
	}
	return &treeHead{lines[0], int64(size), hash}, nil
}

func checkV1Note(head *treeHead, text string, lines []noteSignature, public crypto.PublicKey) error {
	k := rekorV1Key(public)
	if k == nil || !rekorV1Origin.MatchString(head.origin) {
		return fmt.Errorf("not a checkpoint of a log of Rekor v1")
	}
	hash, digest := keyHash(head.origin, k), sha256.Sum256([]byte(text))
	for _, line := range lines {
		if !bytes.Equal(line.hash, hash) || !ecdsa.VerifyASN1(k, digest[:], line.sig) {
			return fmt.Errorf("not signed by the log")
		}
	}
	return nil
}

func checkV2Note(head *treeHead, text string, lines []noteSignature, public crypto.PublicKey) error {
	alg, err := algorithmOf(public)
	if err != nil {
		return err
	}
	usual := crypto.Hash(0)
	if len(alg.hashes) > 0 {
		usual = alg.hashes[0]
	}
	hash := keyHash(head.origin, public)
	for _, line := range lines {
		if line.name == head.origin && bytes.Equal(line.hash, hash) {
			if !signedBy(public, usual, []byte(text), line.sig) {
				return fmt.Errorf("wrong signature of the log")
			}
			return nil
		}
	}
	return fmt.Errorf("not signed by the log")
}

// keyHash returns the key hash in a log's signature lines.
func keyHash(name string, public crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil
	}
	switch k := public.(type) {
	case ed25519.PublicKey:
		der = append([]byte(name+"\n\x01"), k...)
	case *rsa.PublicKey:
		der = append([]byte(name+"\n\xffPKIX-RSA-PKCS#1v1.5"), der...)
	}
	digest := sha256.Sum256(der)
	return digest[:4]
}
