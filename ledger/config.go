package ledger

import (
	"log/slog"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A Config configures a ledger. Store, Signer and Fatal are required.
type Config struct {
	Store  store.Store
	Signer note.Signer // Ed25519; its name is the log's origin
	// Overlap are further keys of the log that sign every checkpoint, too,
	// while the log's key is being changed.
	Overlap []note.Signer
	// Fatal ends the process after a failed commit: the state of the disk is
	// unknown then. If it returns (in tests), the ledger takes no more appends.
	Fatal func(error)

	// Quorum returns nil if the signatures of a checkpoint meet the policies by
	// which the log is verified. If Quorum is nil, the log's own signature is
	// enough.
	Quorum func(signed []byte) error
	// WitnessedEvery is the time between witnessed checkpoints that are kept
	// for ever, so that they don't outweigh the entries of a busy log; 0: 10 s.
	WitnessedEvery time.Duration

	Logger *slog.Logger
	Clock  Clock

	// of one stream in the queue, and half of what all may have; 0: 8,192
	MaxPendingEntries int
	MaxPendingBytes   int64  // the same, in header and payload bytes; 0: 256 MiB
	MaxPendingRows    int    // the same, in rows of the index; 0: 262,144
	MaxBatchEntries   int    // bound of one commit; 0: 4,096
	MaxBatchRows      int    // bound of one commit, unless one call has more; 0: 16,384
	MaxBatchBytes     int64  // bound of one commit, unless one entry is larger; 0: 64 MiB
	ReserveBytes      uint64 // appends are refused when less is free on the disk
	// longest believable time since the last entry, at start; 0: 366 days
	MaxClockGap time.Duration
	TileCache   int // full tiles kept in memory, 16 KiB each; 0: 4,096

	Observe Observer // may be zero
}

// An Observer is notified of events. Its functions must return quickly. Nil
// functions are not called.
type Observer struct {
	// Committed is called after each commit with its entries and how long
	// commit and signature took.
	Committed func(entries int, commit, sign time.Duration)
	// Recorded is called for each stream that got entries by a commit, with
	// their number and the bytes of their payloads, before the callers are
	// answered, even if they have gone. It is called for entries that
	// the log itself writes, too.
	Recorded func(stream entry.Hash, entries int, bytes int64)
	// Refused is called for each refused entry, with the sentinel error.
	Refused func(reason error)
}

func (c *Config) setDefaults() {
	def(&c.MaxPendingEntries, 8192)
	def(&c.MaxPendingBytes, 256<<20)
	def(&c.MaxPendingRows, 256<<10)
	def(&c.MaxBatchEntries, 4096)
	def(&c.MaxBatchRows, 16<<10)
	def(&c.MaxBatchBytes, 64<<20)
	def(&c.MaxClockGap, 366*24*time.Hour)
	def(&c.TileCache, 4096)
	def(&c.WitnessedEvery, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = SystemClock()
	}
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
