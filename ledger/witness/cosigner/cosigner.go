// Package cosigner implements a witness. It cosigns checkpoints of configured
// logs, each consistent with all that it has cosigned before. It speaks C2SP
// tlog-witness (https://c2sp.org/tlog-witness) and signs as specified in C2SP
// tlog-cosignature (https://c2sp.org/tlog-cosignature).
//
// It sees only checkpoints, never leaves. The number of configured logs bounds
// its memory.
package cosigner

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/wholefile"
)

// A Log is a log whose checkpoints are cosigned.
type Log struct {
	Origin string
	Keys   []note.Verifier // one of them must have signed
}

// A Config configures a Cosigner.
type Config struct {
	Dir    string // contains one file per log; created if missing
	Keys   []Key  // each signs every checkpoint
	Logs   []Log
	Logger *slog.Logger
}

// A Key is a cosigner key.
type Key struct {
	note.Signer
	Verifier note.Verifier
}

var (
	errMalformed    = errors.New("malformed request")
	errUnknownLog   = errors.New("unknown log")
	errNotSigned    = errors.New("no valid signature by a key of the log")
	errInconsistent = errors.New("not consistent with the last cosigned checkpoint")
)

// A conflict is the error of a request whose old size is not that of the log's
// latest cosigned checkpoint.
type conflict struct{ size int64 }

func (c conflict) Error() string { return fmt.Sprintf("the latest cosigned size is %d", c.size) }

// A Cosigner is a witness.
type Cosigner struct {
	cfg   Config
	logs  map[string]*logState // by origin; never changes
	byID  map[string]*logState // by the hexadecimal SHA-256 of the origin
	lock  *os.File
	stats stats
}

// A logState is the witness's state for one log.
type logState struct {
	Log
	path string

	// Held from the check to the end of the write, so that no two requests
	// continue from the same state.
	mu     sync.Mutex
	tree   torchwood.Checkpoint
	signed []byte // the latest cosigned checkpoint; nil if there is none
}

// Open locks the folder and loads its state. It returns an error if a file is
// damaged, or another process uses the folder.
func Open(cfg Config) (*Cosigner, error) {
	if err := owner.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := owner.OpenFile(filepath.Join(cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(lock); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: another witness uses the folder: %w", cfg.Dir, err), lock.Close())
	}
	c := &Cosigner{cfg: cfg, logs: map[string]*logState{}, byID: map[string]*logState{}, lock: lock, stats: newStats()}
	for _, l := range cfg.Logs {
		if err := c.load(l); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	return c, nil
}

// Close unlocks the folder. No request may be in progress.
func (c *Cosigner) Close() error { return c.lock.Close() }

func (c *Cosigner) load(l Log) error {
	if c.logs[l.Origin] != nil {
		return fmt.Errorf("log %s: configured twice", l.Origin)
	}
	sum := sha256.Sum256([]byte(l.Origin))
	id := hex.EncodeToString(sum[:])
	s := &logState{Log: l, path: filepath.Join(c.cfg.Dir, id)}
	signed, err := bounded.ReadFile(s.path, bounded.Config)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.cfg.Logger.Warn("no checkpoint of this log was cosigned before: the first one is accepted without proof", "log", l.Origin)
	case err != nil:
		return fmt.Errorf("log %s: %w", l.Origin, err)
	default:
		if s.tree, err = c.checkState(l.Origin, signed); err != nil {
			return fmt.Errorf("log %s: %s: %w; a witness that lost its state could cosign a fork: give it a new name and new keys", l.Origin, s.path, err)
		}
		s.signed = signed
		c.cfg.Logger.Info("loaded the state of a log", "log", l.Origin, "size", s.tree.N)
	}
	c.logs[l.Origin], c.byID[id] = s, s
	c.stats.size.WithLabelValues(l.Origin).Set(float64(s.tree.N))
	return nil
}

// checkState reads a file that the witness wrote. The witness's own cosignature
// proves that the file is intact.
func (c *Cosigner) checkState(origin string, signed []byte) (torchwood.Checkpoint, error) {
	text, sigs, ok := strings.Cut(string(signed), "\n\n")
	if !ok || !strings.HasSuffix(sigs, "\n") {
		return torchwood.Checkpoint{}, errors.New("damaged: not a signed checkpoint")
	}
	tree, err := torchwood.ParseCheckpoint(text + "\n")
	if err != nil || tree.Origin != origin {
		return tree, errors.New("damaged: not a checkpoint of this log")
	}
	var own []note.Verifier
	for _, k := range c.cfg.Keys {
		own = append(own, k.Verifier)
	}
	if _, err := note.Open(signed, note.VerifierList(own...)); err != nil {
		return tree, errors.New("damaged, or not of this witness: its own cosignature does not verify")
	}
	return tree, nil
}

// add checks a request, stores the checkpoint durably, and returns the
// cosignatures, one per line.
func (c *Cosigner) add(r *request) ([]byte, error) {
	l := c.logs[r.origin]
	if l == nil {
		return nil, errUnknownLog
	}
	n, err := note.Open(r.signed, note.VerifierList(l.Keys...))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified) || errors.As(err, &invalid):
		return nil, errNotSigned
	case err != nil:
		return nil, fmt.Errorf("%w: not a signed note", errMalformed)
	}
	tree, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil {
		return nil, fmt.Errorf("%w: not a checkpoint", errMalformed)
	}
	if r.old > tree.N {
		return nil, fmt.Errorf("%w: the old size is larger than the checkpoint's", errMalformed)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.old != l.tree.N {
		return nil, conflict{l.tree.N}
	}
	if err := l.consistent(&tree, r.proof); err != nil {
		c.cfg.Logger.Error("the log has signed a checkpoint that is inconsistent with the last cosigned one, or has sent a wrong proof", "log", l.Origin,
			"cosigned", string(l.signed), "signed", string(r.signed), "reason", err)
		return nil, fmt.Errorf("%w: %w", errInconsistent, err)
	}
	lines, err := cosign(n, c.cfg.Keys)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	signed := []byte(n.Text + "\n")
	for _, s := range n.Sigs {
		signed = fmt.Appendf(signed, "— %s %s\n", s.Name, s.Base64)
	}
	signed = append(signed, lines...)
	if err := wholefile.SaveState(l.path, signed, 0o600); err != nil {
		return nil, fmt.Errorf("write %s: %w", l.path, err)
	}
	l.tree, l.signed = tree, signed
	c.stats.size.WithLabelValues(l.Origin).Set(float64(tree.N))
	return lines, nil
}

// consistent checks that the tree extends the last cosigned one.
func (l *logState) consistent(tree *torchwood.Checkpoint, path [][]byte) error {
	if tree.N == 0 && string(tree.Hash[:]) != string(rfc6962.DefaultHasher.EmptyRoot()) {
		return errors.New("the root of the empty tree is wrong")
	}
	if l.tree.N == 0 {
		if len(path) > 0 {
			return errors.New("a proof from the empty tree must be empty")
		}
		return nil
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(l.tree.N), uint64(tree.N), path, l.tree.Hash[:], tree.Hash[:])
}

// cosign returns a signature line over the note's text for each key.
func cosign(n *note.Note, keys []Key) ([]byte, error) {
	var signers []note.Signer
	for _, k := range keys {
		signers = append(signers, k)
	}
	signed, err := note.Sign(&note.Note{Text: n.Text}, signers...)
	if err != nil {
		return nil, err
	}
	return signed[len(n.Text)+1:], nil
}
