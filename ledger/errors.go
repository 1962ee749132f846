package ledger

import "errors"

var (
	// ErrQueueFull is the error of an append while too many entries wait to be
	// sequenced. Retry later.
	ErrQueueFull = errors.New("too many entries are waiting to be written; retry later")
	// ErrDiskFull is the error of an append when the disk's free-space reserve
	// is reached. Reads continue, and appends resume when there is room.
	ErrDiskFull = errors.New("the disk is nearly full")
	// ErrClock is the error of an append when the system clock can't be
	// trusted.
	ErrClock = errors.New("the clock can't be trusted")
	// ErrFailed is the error of an append after a failed commit. The process
	// should have ended. A restart reopens the durable state.
	ErrFailed = errors.New("a write to the store failed; the server must be restarted")
	// ErrClosed is the error of an append while the ledger shuts down.
	ErrClosed = errors.New("the ledger is shutting down")
	// ErrKeyReused is the error of a submission whose idempotency key was used
	// before with another request.
	ErrKeyReused = errors.New("this idempotency key was used with another request")
	// ErrNotFound means that the stream has no such entry.
	ErrNotFound = errors.New("no such entry")
	// ErrOutOfRange means that an index or size is beyond the published log.
	ErrOutOfRange = errors.New("beyond the published log")
	// ErrNoCheckpoint means that no checkpoint of the size was published.
	ErrNoCheckpoint = errors.New("no checkpoint of that size was published")
	// ErrErased means that an erasure has removed what the call needs.
	ErrErased = errors.New("erased")
	// ErrPageToken means that a page token is malformed or belongs to another
	// query.
	ErrPageToken = errors.New("not a page token of this query")
)
