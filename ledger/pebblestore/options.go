package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"

	"muniment.dev/muniment/ledger/store"
)

// compression is zstd for blob files, whose blocks are not written again:
// headers shrink to a fifth. Payloads, salts and hashes are noise; after a few
// samples Pebble tries only its fast algorithm on them.
var compression = func() *block.CompressionProfile {
	p := *block.GoodCompression
	p.Name = "Muniment"
	p.ValueBlocks = block.BalancedCompression.ValueBlocks // zstd, level 1
	p.DataBlocks = block.FastestCompression.DataBlocks
	return &p
}()

// lastCompression is that of the level where rows stay: zstd for tables too.
var lastCompression = func() *block.CompressionProfile {
	p := *compression
	p.Name = "MunimentLast"
	p.DataBlocks = block.BalancedCompression.DataBlocks
	return &p
}()

// options translates the options.
func (s *Store) options(o store.Options) *pebble.Options {
	p := &pebble.Options{
		FS:                 s.fs,
		Logger:             s.pebbleLogger(o.Logger),
		FormatMajorVersion: pebble.FormatValueSeparation,
		CacheSize:          o.CacheBytes,
		MemTableSize:       o.BufferBytes,
		// A flush must not stop the writer, and a burst of commits may outrun
		// the disk for a moment.
		MemTableStopWritesThreshold: 4,
		// L0 gathers a few flushes before they are merged, which takes a third
		// less of the processor than Pebble's 4. Filters spare readers most of
		// the price.
		L0CompactionThreshold: 8,
		L0StopWritesThreshold: 24,
		LBaseMaxBytes:         256 << 20,
	}
	if p.CacheSize == 0 {
		p.CacheSize = 48 << 20
	}
	if p.MemTableSize == 0 {
		p.MemTableSize = 48 << 20
	}
	// Pebble takes the memory of its tables out of the cache: one table fills
	// up while another is flushed.
	p.CacheSize += 2 * int64(p.MemTableSize)
	// The size counts the blobs that a table refers to. With Pebble's 2 MiB a
	// flush would make dozens of files.
	for i := range p.TargetFileSizes {
		p.TargetFileSizes[i] = 64 << 20
	}
	for i := range p.Levels {
		l := &p.Levels[i]
		l.BlockSize = 16 << 10
		l.IndexBlockSize = 64 << 10
		// Nearly every Lookup is for a key that isn't there: what has been seen
		// before is the exception.
		l.FilterPolicy = filterPolicy
		l.Compression = func() *block.CompressionProfile { return compression }
	}
	p.Levels[len(p.Levels)-1].Compression = func() *block.CompressionProfile { return lastCompression }
	p.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled:     true,
			MinimumSize: 1 << 10,
			// Values lie in blob files in the order of their keys and are never
			// overwritten. So references stay in order whatever Pebble's
			// worst-case estimate, and there is nothing to gain by writing
			// the values again.
			MaxBlobReferenceDepth: math.MaxInt32,
			// What is erased shall leave the disk at once when Purge asks for
			// it, and it is the only garbage there is.
			TargetGarbageRatio: s.garbageRatio(),
		}
	}
	signal := func() {
		select {
		case s.changed <- struct{}{}:
		default: // there is one
		}
	}
	p.EventListener = &pebble.EventListener{
		BlobFileDeleted:    func(pebble.BlobFileDeleteInfo) { signal() },
		BlobFileRewriteEnd: func(pebble.BlobFileRewriteInfo) { signal() },
		TableDeleted:       func(pebble.TableDeleteInfo) { signal() },
		WALDeleted:         func(pebble.WALDeleteInfo) { signal() },
		// Pebble would end the process. The read returns an error, too.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			if errors.Is(info.Details, errKnownBad) {
				return
			}
			s.bad.learn(info.Details)
			s.log.Error("the store is damaged: stop the server, and run muniment fsck", "file", info.Path, "err", info.Details)
		},
	}
	p.EnsureDefaults()
	if s.disk {
		p.WithFSDefaults() // watches for slow disks
	}
	p.FS = badBlockFS{blobFS{p.FS}, &s.bad}
	return p
}

func (s *Store) garbageRatio() float64 {
	if s.clearing.Load() {
		return 0
	}
	return 0.1
}

// A logger passes on what Pebble logs.
type logger struct{ to *slog.Logger }

func newLogger(l *slog.Logger) logger {
	if l == nil {
		l = slog.Default()
	}
	return logger{l}
}

func (l logger) Infof(format string, args ...any) {
	l.to.Debug("pebble: " + fmt.Sprintf(format, args...))
}

func (l logger) Errorf(format string, args ...any) {
	l.to.Error("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf ends the process. Pebble calls it when a write-ahead log could not be
// synced; were it to return, Pebble would go on and tell the writer of the
// commit that all went well.
func (l logger) Fatalf(format string, args ...any) {
	message := "pebble: " + fmt.Sprintf(format, args...)
	l.to.Error(message)
	fmt.Fprintln(os.Stderr, message) // the logger may be one that drops it
	os.Exit(1)
}

// A readLogger is that of a database which is open for reading: what would end
// the process is an error of Open, or of a read.
type readLogger struct{ logger }

// Fatalf panics. Nothing was written, so nothing is unknown.
func (l readLogger) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (s *Store) pebbleLogger(l *slog.Logger) pebble.Logger {
	if s.readOnly {
		return readLogger{newLogger(l)}
	}
	return newLogger(l)
}
