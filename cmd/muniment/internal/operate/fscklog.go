package operate

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/api/rekor"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
)

// A checkedLog is the part of a data folder that fsck needs. Unlike
// datadir.Load, loading it opens no private key of the log.
type checkedLog struct {
	kind    datadir.StoreKind
	streams []ledger.KnownStream
	anchors []string             // outside the data folder
	keys    []note.Verifier      // of the log
	others  []note.Verifier      // of witnesses, and the log's cosigner key
	policy  *receipt.TrustPolicy // of a replica
	reserve uint64               // free disk space, in bytes, below which nothing is written
}

func (c *fsckCmd) loadLog() (*checkedLog, error) {
	if c.Rekor {
		if _, err := readConfig(c.Data); err != nil {
			return nil, err
		}
		return loadCheckedRekor(c.Data)
	}
	return loadCheckedLog(c.Data)
}

// readConfig reads the configuration of a data folder.
func readConfig(dir string) (*datadir.Dir, error) {
	path := filepath.Join(dir, datadir.ConfigFile)
	text, err := bounded.ReadFile(path, bounded.Config)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is not a data folder: it has no %s", dir, datadir.ConfigFile)
	} else if err != nil {
		return nil, err
	}
	d := &datadir.Dir{Path: dir}
	if d.Config, err = datadir.DecodeConfig(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

func loadCheckedLog(dir string) (*checkedLog, error) {
	d, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	l := &checkedLog{kind: d.LogStore(), reserve: d.Config.Limits.DiskReserveBytes}
	for _, t := range d.Config.Tenants {
		key, err := datadir.ReadStreamKey(d.Rel(t.StreamKey))
		if err != nil {
			return nil, fmt.Errorf("the stream key of tenant %s: %w", t.Name, err)
		}
		l.streams = append(l.streams, ledger.KnownStream{Tenant: t.Name, Stream: ledger.NewStream(*key)})
	}
	if d.Config.Replica {
		l.kind = d.ReplicaStore()
		err := d.LoadReplicaPolicy()
		l.policy = d.Replica
		return l, err
	}
	for _, path := range d.Config.Anchors {
		l.anchors = append(l.anchors, d.Rel(path))
	}
	return l, l.loadKeys(dir)
}

// loadKeys reads the public keys of the log, including retired ones, and of the
// witnesses in its policies.
func (l *checkedLog) loadKeys(dir string) error {
	for _, name := range []string{datadir.PolicyFile, datadir.PQPolicyFile} {
		p, err := datadir.ReadPolicyFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) && name == datadir.PQPolicyFile {
			continue
		} else if err != nil {
			return fmt.Errorf("the log's policy: %w", err)
		}
		if name == datadir.PolicyFile {
			l.keys = append(l.keys, p.LogKey())
		} else {
			l.others = append(l.others, p.LogKey())
		}
		for _, w := range p.Witnesses() {
			l.others = append(l.others, w.Key)
		}
	}
	records, err := datadir.ReadKeyRecords(dir)
	if err != nil {
		return err
	}
	for i := range records {
		v, err := note.NewVerifier(records[i].Key)
		if err != nil {
			return fmt.Errorf("%s: keys[%d]: %w", filepath.Join(dir, datadir.KeysFile), i, err)
		}
		l.keys = append(l.keys, v)
	}
	return nil
}

func loadCheckedRekor(dir string) (*checkedLog, error) {
	text, err := bounded.ReadSecret(filepath.Join(dir, datadir.RekorKeyFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("--rekor: %s has no Rekor log", dir)
	} else if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(text)))
	if err != nil {
		// the cause could show parts of the key
		return nil, fmt.Errorf("%s: not a note signing key", filepath.Join(dir, datadir.RekorKeyFile))
	}
	l := &checkedLog{kind: datadir.RekorStore(signer.Name())}
	path := filepath.Join(dir, datadir.RekorKeysFile)
	if text, err = bounded.ReadFile(path, bounded.Config); err != nil {
		return nil, err
	}
	var keys []rekor.Key
	if err := json.Unmarshal(text, &keys); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i := range keys {
		v, err := rekorVerifier(signer.Name(), &keys[i])
		if err != nil {
			return nil, fmt.Errorf("%s: key %d: %w", path, i, err)
		}
		l.keys = append(l.keys, v)
	}
	return l, nil
}

// rekorVerifier returns the note verifier of a key of the Rekor log.
func rekorVerifier(name string, k *rekor.Key) (note.Verifier, error) {
	pub, err := x509.ParsePKIXPublicKey(k.PublicKey)
	if err != nil {
		return nil, err
	}
	key, ok := pub.(ed25519.PublicKey)
	if !ok || len(k.LogID) < 4 {
		return nil, errors.New("not an Ed25519 key of a log")
	}
	const algEd25519 = 1 // https://c2sp.org/signed-note#signature-types
	return note.NewVerifier(fmt.Sprintf("%s+%x+%s", name, k.LogID[:4], base64.StdEncoding.EncodeToString(append([]byte{algEd25519}, key...))))
}

// verify returns an error unless the log has signed the checkpoint, and every
// signature by a known key is valid.
func (l *checkedLog) verify(signed []byte, cosigned bool) error {
	if l.policy != nil {
		_, _, err := l.policy.VerifyCheckpoint(signed)
		return err
	}
	own := map[string]bool{}
	var known []note.Verifier
	seen := map[string]bool{}
	add := func(v note.Verifier) string {
		id := fmt.Sprintf("%s+%08x", v.Name(), v.KeyHash())
		if !seen[id] {
			seen[id] = true
			known = append(known, v)
		}
		return id
	}
	for _, v := range l.keys {
		own[add(v)] = true
	}
	if cosigned {
		for _, v := range l.others {
			add(v)
		}
	}
	n, err := note.Open(signed, note.VerifierList(known...))
	if err != nil {
		return err
	}
	for _, s := range n.Sigs {
		if own[fmt.Sprintf("%s+%08x", s.Name, s.Hash)] {
			return nil
		}
	}
	return errors.New("it is not signed by the log's key")
}
