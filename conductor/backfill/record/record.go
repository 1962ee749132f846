// Package record makes the evidence of backfills: it builds the entries of each
// step, sends them to the ledger in order, verifies their receipts, and asks
// the ledger's gate. See docs/spec/backfill.md, section 7.
//
// An entry is first written to the outbox, in the transaction that changes the
// state of the job. A Sender sends it from there. Sending is repeated until the
// receipt is stored, always with the same bytes and the same idempotency key,
// so the ledger records each entry once.
package record

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"muniment.dev/muniment/internal/kindname"
)

// The kinds of entries.
const (
	KindStep       = kindname.BackfillStep
	KindCheckpoint = kindname.BackfillCheckpoint
)

// A Draft is an entry without its number.
type Draft struct {
	Kind string `json:"kind"`
	// Payload is the payload without references to other entries.
	Payload json.RawMessage `json:"payload"`
	// Intent and Checkpoint are the numbers of the entries that the payload
	// refers to as intent and checkpointEntry. 0: it does not.
	Intent     uint64 `json:"intent,omitempty"`
	Checkpoint uint64 `json:"checkpoint,omitempty"`
}

// Encode returns a draft in the form in which outboxes store it.
func (d *Draft) Encode() ([]byte, error) { return json.Marshal(d) }

// Decode returns the draft that Encode has returned the text of.
func Decode(text []byte) (Draft, error) {
	var d Draft
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("draft of an entry in the outbox: %w", err)
	}
	return d, nil
}

// An Item is an entry in the outbox.
type Item struct {
	Seq uint64 // counts from 1 in each run
	Draft
	// Sealed is the payload as it is sent. Nil: it was never sent.
	Sealed []byte
}

// A Receipt is the proof that an item was recorded.
type Receipt struct {
	Index    uint64
	LeafHash string // 64 hexadecimal digits
	Payload  []byte // as it was sent, with its references
	Receipt  []byte // in the detached form
}

// ErrTakenOver is wrapped by the errors of an Outbox that belongs to another
// process now.
var ErrTakenOver = errors.New("another process sends the entries of the job")

// An Outbox keeps the entries of one run. Its methods are called by one
// goroutine at a time.
type Outbox interface {
	// Next returns the item with the smallest number that is not acknowledged,
	// or false if there is none.
	Next(context.Context) (Item, bool, error)
	// Receipt returns the receipt of an acknowledged item.
	Receipt(ctx context.Context, seq uint64) (Receipt, error)
	// Seal stores the payload of an item as it is sent. It is called before the
	// first attempt. Later attempts send the same bytes.
	Seal(ctx context.Context, seq uint64, payload []byte) error
	// Acknowledge stores the receipt of an item. A repeated call with an equal
	// receipt changes nothing.
	Acknowledge(ctx context.Context, seq uint64, r Receipt) error
}

// A Job identifies the job that entries are about.
type Job struct {
	Name   string   // of the job, such as asset-price
	File   string   // that names JOB.yaml in the ledger, such as asset-price.yaml
	SHA256 [32]byte // of the bytes of JOB.yaml
	Run    string   // of this execution
	Entity string   // what is being backfilled
	Actor  string   // who acts, unless a step has another actor
}

// Key returns the idempotency key of an item.
func (j *Job) Key(seq uint64) string {
	return j.Name + "/" + j.Run + "/" + strconv.FormatUint(seq, 10)
}

// Digest returns the digest of JOB.yaml in hexadecimal digits.
func (j *Job) Digest() string { return hex.EncodeToString(j.SHA256[:]) }

// Limits of the members of entries, as docs/spec/kinds.md specifies them.
const (
	maxText = 256
	maxRun  = 64
	maxName = 128 // so that an idempotency key has at most 256 bytes
	maxFile = 2048
	// MaxPayload is the largest payload of an entry in bytes, without its
	// references.
	MaxPayload = 1<<20 - maxReferences
	// maxReferences is more than what the references add to a payload.
	maxReferences = 512
)

// check returns an error if no entry about the job would be accepted.
func (j *Job) check() error {
	for _, f := range []struct {
		name, value string
		most        int
	}{{"name", j.Name, maxName}, {"file", j.File, maxFile}, {"run", j.Run, maxRun}, {"entity", j.Entity, maxText}, {"actor", j.Actor, maxText}} {
		if err := checkText(f.name, f.value, f.most); err != nil {
			return fmt.Errorf("job: %w", err)
		}
	}
	for i, c := range []byte(j.Run) {
		if !isAlphanumeric(c) && (i == 0 || c != '.' && c != '_' && c != '-') {
			return fmt.Errorf("job: run %q: unexpected character %q", j.Run, c)
		}
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
