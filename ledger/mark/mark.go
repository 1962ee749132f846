// Package mark reads and writes publish marks, in the format of
// docs/spec/mark.md.
//
// A publish mark is a file beside a store. It contains the last published
// checkpoint. For each journal of the store (a write-ahead log or MANIFEST) it
// contains the length and hash of the synced part. Engines overwrite it in
// place without a sync, which takes microseconds and survives the end of the
// process.
package mark

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/store"
)

const (
	suffix  = ".mark"
	version = "muniment.dev/mark/v1"
)

// MaxSize is the largest size of a mark, in bytes.
const MaxSize = 256 << 10

// ErrTorn is the error of a mark that was written partly, or damaged.
var ErrTorn = errors.New("the publish mark is torn or damaged")

// Path returns the path of the publish mark of the store in dir.
func Path(dir string) string { return strings.TrimRight(dir, "/") + suffix }

// Marshal returns the content of the mark's file.
func Marshal(m *store.Mark) []byte {
	var body []byte
	for _, j := range m.Journals {
		body = fmt.Appendf(body, "journal %s %d %016x\n", j.Name, j.Length, j.Hash)
	}
	body = append(body, '\n')
	body = append(body, m.Checkpoint...)
	sum := sha256.Sum256(body)
	return append(fmt.Appendf(nil, "%s %d %x\n", version, len(body), sum), body...)
}

// Parse parses the content of a mark's file, or returns ErrTorn. It ignores
// bytes after the mark, which are left over from a longer one.
func Parse(data []byte) (*store.Mark, error) {
	line, rest, ok := bytes.Cut(data, []byte("\n"))
	f := strings.Split(string(line), " ")
	if !ok || len(f) != 3 || f[0] != version {
		return nil, ErrTorn
	}
	n, err := strconv.ParseUint(f[1], 10, 32)
	if err != nil || n > uint64(len(rest)) {
		return nil, ErrTorn
	}
	body := rest[:n]
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != f[2] {
		return nil, ErrTorn
	}
	m := &store.Mark{}
	for {
		line, rest, ok := bytes.Cut(body, []byte("\n"))
		if !ok {
			return nil, ErrTorn
		}
		body = rest
		if len(line) == 0 {
			break
		}
		var j store.Journal
		if n, err := fmt.Sscanf(string(line), "journal %s %d %x", &j.Name, &j.Length, &j.Hash); err != nil || n != 3 {
			return nil, ErrTorn
		}
		m.Journals = append(m.Journals, j)
	}
	if len(body) > 0 {
		m.Checkpoint = bytes.Clone(body)
	}
	return m, nil
}

// Read returns the publish mark of the store in dir. The error is ErrTorn, or
// one of the file system.
func Read(dir string) (*store.Mark, error) {
	data, err := bounded.ReadFile(Path(dir), MaxSize)
	if err != nil {
		return nil, err
	}
	m, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Path(dir), err)
	}
	return m, nil
}

// Create makes the publish mark of a store that does not exist yet, durably.
// With it, the loss of the store is noticed.
func Create(dir string) error { return Write(dir, &store.Mark{}) }

// Write writes the publish mark of the store in dir, durably. No process may
// have the store open.
func Write(dir string, m *store.Mark) error {
	if err := wholefile.SaveState(Path(dir), Marshal(m), 0o600); err != nil {
		return fmt.Errorf("publish mark: %w", err)
	}
	return nil
}
