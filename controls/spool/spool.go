// Package spool keeps what was decided without the log, until it is submitted
// to it.
//
// A spool is a folder with one file for each document, named by the digest of
// its content: sha256-HEX.json. Files are written whole, synced, and never
// changed, so a spool can be copied and merged with other means.
// docs/spec/decision.md, section 10, specifies it. The package does not
// interpret documents, except for their type.
package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/entry"
)

// Bounds of a spool.
const (
	MaxDocument = 1 << 20 // bytes
	MaxFiles    = 100_000
	MaxBytes    = 1 << 30 // of all documents
)

var (
	// ErrFull reports that a spool has reached its bounds.
	ErrFull = errors.New("the spool is full: submit its decisions to the log with muniment spool submit")
	// ErrNone reports that there is no spool.
	ErrNone = errors.New("no spool is configured")
	// ErrTooLarge reports that a document exceeds MaxDocument.
	ErrTooLarge = fmt.Errorf("the document has more than %d bytes", MaxDocument)
	// ErrChanged reports that a file is not the document that its name names.
	ErrChanged = errors.New("the file was changed: its content does not have the digest in its name")
)

// A Spool is a spool in a folder. Goroutines can share it, and so can
// processes, which then observe its bounds approximately.
type Spool struct {
	dir *os.Root

	mu    sync.Mutex // guards what follows
	known bool       // whether the folder was counted
	files int
	bytes int64
}

// Open opens the spool in a folder, which must exist.
func Open(dir string) (*Spool, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Spool{dir: root}, nil
}

// Make opens the spool in a folder, and makes the folder if it does not exist.
// Its files are for its owner only.
func Make(dir string) (*Spool, error) {
	if err := owner.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return Open(dir)
}

// Close releases the folder.
func (s *Spool) Close() error { return s.dir.Close() }

const prefix, suffix = "sha256-", ".json"

// fileName returns the name of the file of a document with a digest.
func fileName(digest string) string { return strings.Replace(digest, ":", "-", 1) + suffix }

// digestOf returns the digest that a file name names.
func digestOf(name string) (digest string, ok bool) {
	hex, isJSON := strings.CutSuffix(name, suffix)
	hex, isDigest := strings.CutPrefix(hex, prefix)
	if !isJSON || !isDigest || len(hex) != 2*entry.HashSize || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", false
	}
	return "sha256:" + hex, true
}

// Put writes a document and returns its digest, "sha256:" and hexadecimal
// digits. The document is durable when Put returns. A document that the spool
// has already is written again. Errors: ErrFull, ErrTooLarge.
func (s *Spool) Put(document []byte) (digest string, err error) {
	if len(document) > MaxDocument {
		return "", ErrTooLarge
	}
	digest = entry.SHA256(document)
	if err := s.reserve(int64(len(document))); err != nil {
		return "", err
	}
	if err := wholefile.ReplaceOwned(s.dir, fileName(digest), document, 0o600); err != nil {
		return "", fmt.Errorf("write to the spool: %w", err)
	}
	return digest, wholefile.SyncDir(s.dir, ".")
}

// reserve counts a document that will be written. A spool that seems full is
// counted again, because files may have been submitted or moved.
func (s *Spool) reserve(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 2 {
		if s.known && s.files < MaxFiles && s.bytes+size <= MaxBytes {
			s.files, s.bytes = s.files+1, s.bytes+size
			return nil
		}
		if err := s.count(); err != nil {
			return err
		}
	}
	return ErrFull
}

func (s *Spool) count() error {
	s.known, s.files, s.bytes = true, 0, 0
	return s.each(func(_ string, f fs.DirEntry) error {
		info, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // submitted meanwhile
		} else if err != nil {
			return err
		}
		s.files, s.bytes = s.files+1, s.bytes+info.Size()
		return nil
	})
}

// each calls visit with the digest and the file of each document. Other files
// are ignored. It reads at most MaxFiles documents.
func (s *Spool) each(visit func(digest string, f fs.DirEntry) error) error {
	dir, err := s.dir.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	for n := 0; n < MaxFiles; {
		const step = 1000
		files, err := dir.ReadDir(step)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the spool: %w", err)
		}
		for _, f := range files {
			digest, ok := digestOf(f.Name())
			if !ok {
				continue
			}
			if n++; n > MaxFiles {
				return nil
			}
			if err := visit(digest, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// Digests returns the digests of the documents, sorted. Of a folder with more
// documents than MaxFiles it returns that many.
func (s *Spool) Digests() (all []string, err error) {
	err = s.each(func(digest string, _ fs.DirEntry) error {
		all = append(all, digest)
		return nil
	})
	slices.Sort(all)
	return all, err
}

// Get reads a document. Errors: ErrChanged; fs.ErrNotExist.
func (s *Spool) Get(digest string) ([]byte, error) {
	document, err := bounded.ReadFileIn(s.dir, fileName(digest), MaxDocument)
	if err != nil {
		return nil, err
	}
	if entry.SHA256(document) != digest {
		return nil, ErrChanged
	}
	return document, nil
}

// Remove removes a document that the log has recorded, and makes that durable.
// To remove one that is not there is no error.
func (s *Spool) Remove(digest string) error {
	if err := s.dir.Remove(fileName(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove from the spool: %w", err)
	}
	return wholefile.SyncDir(s.dir, ".")
}

// Type returns the type of a document: its member type, or payloadType if it is
// a DSSE envelope. It returns "" for other documents.
func Type(document []byte) string {
	var m struct{ Type, PayloadType string }
	if json.Unmarshal(document, &m) != nil {
		return ""
	}
	if m.Type != "" {
		return m.Type
	}
	return m.PayloadType
}
