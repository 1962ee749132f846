package pebblestore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A publish mark is a file beside the store's folder. It holds the last
// published checkpoint, and for each journal (write-ahead log or MANIFEST) the
// length and hash of what was synced of it. It is overwritten in place without
// a sync, which takes microseconds and survives the end of the process. It
// never runs ahead of the store: every byte that it vouches for was synced
// before.
//
// Pebble treats the first invalid record of a MANIFEST, and of the last
// write-ahead log, as its end. That is right for what was being written when
// the power failed, and loses data for what was synced long ago. Only the mark
// distinguishes the two.
//
// The format is specified in docs/spec/mark.md.
const (
	markSuffix  = ".mark"
	markVersion = "muniment.dev/mark/v1"
	maxMark     = 256 << 10
)

// A Mark is the content of a publish mark.
type Mark struct {
	// Checkpoint is the last published checkpoint, a signed note. It is nil if
	// none was published.
	Checkpoint []byte
	// Journals are the files that the store needs.
	Journals []Journal
}

// A Journal is the part of a file that was synced.
type Journal struct {
	Name   string // in the store's folder
	Length uint64
	Hash   uint64 // XXH64 of the first Length bytes
}

// MarkPath returns the path of the publish mark of the store in dir.
func MarkPath(dir string) string {
	return strings.TrimRight(dir, "/") + markSuffix
}

// marshal returns the file's content.
func (m *Mark) marshal() []byte {
	var body []byte
	for _, j := range m.Journals {
		body = fmt.Appendf(body, "journal %s %d %016x\n", j.Name, j.Length, j.Hash)
	}
	body = append(body, '\n')
	body = append(body, m.Checkpoint...)
	sum := sha256.Sum256(body)
	return append(fmt.Appendf(nil, "%s %d %x\n", markVersion, len(body), sum), body...)
}

var errTornMark = errors.New("the publish mark is torn or damaged")

// parseMark reads a mark. Bytes after its end are ignored: a longer mark was
// there before.
func parseMark(data []byte) (*Mark, error) {
	line, rest, ok := bytes.Cut(data, []byte("\n"))
	f := strings.Split(string(line), " ")
	if !ok || len(f) != 3 || f[0] != markVersion {
		return nil, errTornMark
	}
	n, err := strconv.ParseUint(f[1], 10, 32)
	if err != nil || n > uint64(len(rest)) {
		return nil, errTornMark
	}
	body := rest[:n]
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != f[2] {
		return nil, errTornMark
	}
	m := &Mark{}
	for {
		line, rest, ok := bytes.Cut(body, []byte("\n"))
		if !ok {
			return nil, errTornMark
		}
		body = rest
		if len(line) == 0 {
			break
		}
		var j Journal
		if n, err := fmt.Sscanf(string(line), "journal %s %d %x", &j.Name, &j.Length, &j.Hash); err != nil || n != 3 {
			return nil, errTornMark
		}
		m.Journals = append(m.Journals, j)
	}
	if len(body) > 0 {
		m.Checkpoint = bytes.Clone(body)
	}
	return m, nil
}

// readMark returns the mark, or an error that is errTornMark or
// oserror.IsNotExist.
func readMark(fs vfs.FS, path string) (*Mark, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMark))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	m, err := parseMark(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// CreateMark makes the publish mark of a store that does not exist yet,
// durably. With it, the loss of the store is noticed.
func CreateMark(dir string) error {
	m, err := openMarker(ownerFS{vfs.Default}, MarkPath(dir), &Mark{})
	if err != nil {
		return err
	}
	return m.close()
}

// A marker keeps a publish mark up to date.
type marker struct {
	fs   vfs.FS
	path string
	f    vfs.File

	mu         sync.Mutex // guards what follows, and writing to f
	checkpoint []byte
	journals   map[string]*journal // by name
	manifest   string              // the newest
	buffer     []byte
}

// A journal is the synced part of a file that is being written, or was when the
// store was opened.
type journal struct {
	Journal
	syncs int
}

// openMarker opens the mark's file, and makes it if it is missing, with the
// content of m.
func openMarker(fs vfs.FS, path string, m *Mark) (*marker, error) {
	k := &marker{fs: fs, path: path, checkpoint: m.Checkpoint, journals: map[string]*journal{}}
	for _, j := range m.Journals {
		k.journals[j.Name] = &journal{Journal: j}
	}
	var err error
	if k.f, err = fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified); err != nil {
		return nil, fmt.Errorf("open the publish mark: %w", err)
	}
	dir, err := fs.OpenDir(fs.PathDir(path))
	if err == nil {
		err = errors.Join(k.write(), k.f.Sync(), dir.Sync(), dir.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write the publish mark: %w", err), k.f.Close())
	}
	return k, nil
}

func (k *marker) close() error { return errors.Join(k.write(), k.f.Sync(), k.f.Close()) }

// publish records the checkpoint as published.
func (k *marker) publish(signed []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.checkpoint = signed
	return k.writeLocked()
}

func (k *marker) write() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.writeLocked()
}

func (k *marker) writeLocked() error {
	m := Mark{Checkpoint: k.checkpoint}
	for _, j := range k.journals {
		m.Journals = append(m.Journals, j.Journal)
	}
	slices.SortFunc(m.Journals, func(a, b Journal) int { return strings.Compare(a.Name, b.Name) })
	k.buffer = append(k.buffer[:0], m.marshal()...)
	if _, err := k.f.WriteAt(k.buffer, 0); err != nil {
		return fmt.Errorf("write the publish mark %s: %w", k.path, err)
	}
	return nil
}

// synced records that the first bytes of a journal are durable.
func (k *marker) synced(j Journal) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.journals[j.Name]
	if e == nil {
		e = &journal{}
		k.journals[j.Name] = e
	}
	if e.syncs > 0 && j.Length < e.Length {
		return nil // a later sync has returned before
	}
	e.Journal = j
	e.syncs++
	if !isManifest(j.Name) {
		return nil // the commit is marked when it is published
	}
	if newer(j.Name, k.manifest) {
		k.manifest = j.Name
	}
	// The first sync of a new MANIFEST comes before Pebble moves to it, and the
	// second after that.
	if j.Name == k.manifest && e.syncs > 1 {
		for name := range k.journals {
			if isManifest(name) && newer(j.Name, name) {
				delete(k.journals, name)
			}
		}
	}
	return k.writeLocked()
}

// drop removes a write-ahead log from the mark, durably: it is about to be
// deleted.
func (k *marker) drop(name string) error {
	k.mu.Lock()
	_, ok := k.journals[name]
	delete(k.journals, name)
	var err error
	if ok {
		err = k.writeLocked()
	}
	k.mu.Unlock()
	if !ok || err != nil {
		return err
	}
	return k.f.Sync()
}

// newer reports whether the number in the first name is larger.
func newer(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a > b }

// isMissing reports whether the error is that of a file that does not exist.
func isMissing(err error) bool { return oserror.IsNotExist(err) }
