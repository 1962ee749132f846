package pebblestore

import (
	stderrors "errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/errors"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/store"
)

// When a block's checksum is wrong, Pebble flips each of its bits in search of
// one that makes it right, which takes a good part of a second. A block holds
// hundreds of records, and each may be asked for again and again. So the file
// system remembers damaged blocks, and refuses to read them again.

// maxBadBlocks bounds what is remembered, in blocks.
const maxBadBlocks = 1 << 14

// badBlocks are the damaged blocks that a store has met.
type badBlocks struct {
	mu sync.RWMutex
	at map[blockAt]bool
}

type blockAt struct {
	file   string // its number, which no other file has
	offset int64
}

// errKnownBad is the error of a block that is not read again.
var errKnownBad = stderrors.New("it was damaged when it was read before")

// badBlock matches the place in Pebble's error of a block with a wrong
// checksum.
var badBlock = regexp.MustCompile(`file ([0-9]+): block ([0-9]+)/[0-9]+: `)

// learn remembers the damaged block that an error of Pebble is about.
func (b *badBlocks) learn(err error) {
	m := badBlock.FindStringSubmatch(err.Error())
	if m == nil || stderrors.Is(err, errKnownBad) {
		return
	}
	offset, perr := strconv.ParseInt(m[2], 10, 64)
	if perr != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at == nil {
		b.at = map[blockAt]bool{}
	}
	if len(b.at) < maxBadBlocks {
		b.at[blockAt{m[1], offset}] = true
	}
}

// check returns an error if the block is damaged. Pebble takes the error for
// that of a damaged block, and so does not retry a compaction at once.
func (b *badBlocks) check(name string, offset int64) error {
	number, _, _ := strings.Cut(name, ".")
	b.mu.RLock()
	defer b.mu.RUnlock()
	if !b.at[blockAt{number, offset}] {
		return nil
	}
	return errors.Mark(fmt.Errorf("%w: block at %d of %s: %w", store.ErrDamaged, offset, name, errKnownBad), pebble.ErrCorruption)
}

// A badBlockFS refuses to read damaged blocks again.
type badBlockFS struct {
	vfs.FS
	bad *badBlocks
}

// Open implements vfs.FS.
func (fs badBlockFS) Open(path string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(path, opts...)
	if err != nil || !strings.HasSuffix(path, ".sst") && !strings.HasSuffix(path, ".blob") {
		return f, err
	}
	return &badBlockFile{f, fs.bad, fs.PathBase(path)}, nil
}

// Unwrap implements vfs.FS.
func (fs badBlockFS) Unwrap() vfs.FS { return fs.FS }

type badBlockFile struct {
	vfs.File
	bad  *badBlocks
	name string
}

// ReadAt implements vfs.File.
func (f *badBlockFile) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.bad.check(f.name, offset); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, offset)
}
