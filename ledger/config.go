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
	// Overlap are additional keys that sign every checkpoint during a change of
	// the log's key.
	Overlap []note.Signer
	// Fatal ends the process after a failed commit, which leaves the state of
	// the disk unknown. If it returns, as in tests, the ledger accepts no more
	// appends.
	Fatal func(error)

	// Quorum returns nil if the signatures of a checkpoint satisfy the log's
	// trust policies. A nil Quorum requires only the log's own signature.
	Quorum func(signed []byte) error
	// WitnessedEvery is the interval between witnessed checkpoints that are
	// kept permanently. It prevents them from outgrowing the entries of a busy
	// log. 0: 10 s.
	WitnessedEvery time.Duration

	Logger *slog.Logger
	Clock  Clock

	// queued entries of one stream, and half the limit of all streams; 0: 8,192
	MaxPendingEntries int
	MaxPendingBytes   int64  // the same for header and payload bytes; 0: 256 MiB
	MaxPendingRows    int    // the same for rows of the index; 0: 262,144
	MaxBatchEntries   int    // limit of one commit; 0: 4,096
	MaxBatchRows      int    // limit of one commit, unless one call has more; 0: 16,384
	MaxBatchBytes     int64  // limit of one commit, unless one entry is larger; 0: 64 MiB
	ReserveBytes      uint64 // free disk space below which appends are refused
	// largest plausible time since the last entry, at start; 0: 366 days
	MaxClockGap time.Duration
	// MaxUndecided is how long the store may leave a commit undecided, or fail
	// to return the commits of other servers, before the ledger fails; 0: 30
	// seconds.
	MaxUndecided time.Duration
	// FollowEvery is the interval at which a store that other servers share is
	// asked for their commits; 0: only when one of this server's is lost.
	FollowEvery time.Duration
	// Governs reports whether an entry with the header changes its stream's
	// rules; nil: every entry of kind config does.
	Governs   func(*entry.Header) bool
	TileCache int // full tiles kept in memory, 9 to 17 KiB each; 0: 4,096
	// EntryCache is the memory for parsed entries that searches for an artifact
	// have found; 0: none.
	EntryCache uint64

	Observe Observer // may be zero
}

// An Observer is notified of events. Its functions must return quickly. Nil
// functions are not called.
type Observer struct {
	// Committed is called after each commit with the number of its entries and
	// the durations of commit and signature.
	Committed func(entries int, commit, sign time.Duration)
	// Recorded is called after a commit for each stream with new entries, with
	// their number and the size of their payloads. It is called before the
	// callers get their answers, even if they have gone, and includes entries
	// that the server itself records.
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
	if c.Governs == nil {
		c.Governs = Governs
	}
	def(&c.MaxUndecided, 30*time.Second)
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
