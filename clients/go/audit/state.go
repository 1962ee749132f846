package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/go-json-experiment/json"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// stateVersion 2 is for logs of entry format 2, with all tags checked.
const stateVersion = 2

// A State is the result of a run from which the next run continues. It takes a
// few kilobytes, and grows with the gaps in the stream but not with the log.
// Keep it in a trusted place: anyone who can change it can hide a fork.
type State struct {
	// Checkpoint is the signed checkpoint of the last run, verbatim. It is the
	// evidence if the log forks later.
	Checkpoint string
	// Peaks are the roots of the perfect subtrees that make up the tree, the
	// largest first. They yield the checkpoint's root.
	Peaks []entry.Hash
	// Stream describes the stream; nil if the audit was run without a key.
	Stream *StreamState

	head receipt.Checkpoint // of Checkpoint; set by check
	tags *entry.TagTable    // of the stream; nil if the state was loaded. It only grows
}

// A StreamState describes a stream as found so far.
type StreamState struct {
	ID entry.Hash `json:"id"`
	// one more than the largest sequence number found; 0 if there was none
	Next uint64 `json:"next"`

	LastIndex uint64     `json:"lastIndex"` // of the entry with sequence number Next-1
	LastLeaf  entry.Hash `json:"lastLeaf"`  // its leaf hash, to which the next entry must link

	Missing    []SeqRange   `json:"missing,omitzero"`    // gaps below Next, in order
	Doubled    []Doubled    `json:"doubled,omitzero"`    // the first MaxFindings
	OutOfOrder []OutOfOrder `json:"outOfOrder,omitzero"` // the first MaxFindings

	DoubledTotal    uint64 `json:"doubledTotal,omitzero"`
	OutOfOrderTotal uint64 `json:"outOfOrderTotal,omitzero"`
}

// MaxFindings is the number of findings of each kind that are kept with their
// details. The others are only counted.
const MaxFindings = 100

// A SeqRange is a run of sequence numbers, both ends included.
type SeqRange struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// Doubled is a sequence number whose tag occurs in two leaves, which proves
// that the operator forked the stream.
type Doubled struct {
	Seq    uint64 `json:"seq"`
	First  uint64 `json:"first"` // indexes
	Second uint64 `json:"second"`
}

// OutOfOrder is an entry after one with a larger sequence number.
type OutOfOrder struct {
	Seq        uint64 `json:"seq"`
	Index      uint64 `json:"index"`
	After      uint64 `json:"after"` // the larger sequence number
	AfterIndex uint64 `json:"afterIndex"`
}

// Size returns the number of audited entries. It is 0 for a nil state.
func (s *State) Size() uint64 {
	if s == nil {
		return 0
	}
	return s.head.Size
}

// LoadState reads a state that Save wrote. The error wraps fs.ErrNotExist if
// the file does not exist, and ErrState if it is not a sound state.
func LoadState(path string) (*State, error) {
	data, err := bounded.ReadFile(path, bounded.Document)
	if err != nil {
		return nil, fmt.Errorf("audit state: %w", err)
	}
	s := &State{}
	if err := s.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Save writes the state atomically: after a crash, the file contains the old
// state or the new one.
func (s *State) Save(path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save audit state: %w", err)
		}
	}()
	data, err := s.MarshalJSON()
	if err != nil {
		return err
	}
	// Only the owner can read it: the stream's ID and volume are
	// confidential.
	return wholefile.SaveState(path, append(data, '\n'), 0o600)
}

// stateJSON is the form of a State in a file.
type stateJSON struct {
	Version    int          `json:"version"`
	Checkpoint string       `json:"checkpoint"`
	Peaks      []entry.Hash `json:"peaks"`
	Stream     *StreamState `json:"stream,omitzero"`
}

// MarshalJSON implements json.Marshaler.
func (s *State) MarshalJSON() ([]byte, error) {
	return json.Marshal(stateJSON{stateVersion, s.Checkpoint, s.Peaks, s.Stream})
}

// UnmarshalJSON implements json.Unmarshaler. It refuses unknown and repeated
// members, other versions, and a state whose parts contradict each other. The
// error wraps ErrState.
func (s *State) UnmarshalJSON(data []byte) error {
	const remedy = "; restore the file from a backup, or remove it to audit the log from its first entry, which cannot detect an earlier fork"
	var v stateJSON
	if err := json.Unmarshal(data, &v, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: %w%s", ErrState, plain.DecodeError(err), remedy)
	}
	if v.Version != stateVersion {
		return fmt.Errorf("%w: it has version %d, but this program reads version %d%s", ErrState, v.Version, stateVersion, remedy)
	}
	n := State{Checkpoint: v.Checkpoint, Peaks: v.Peaks, Stream: v.Stream}
	if err := n.check(); err != nil {
		return fmt.Errorf("%w: %w%s", ErrState, err, remedy)
	}
	*s = n
	return nil
}

// check returns an error if the parts of the state contradict each other.
func (s *State) check() error {
	var err error
	if s.head, err = receipt.ParseCheckpointUnverified([]byte(s.Checkpoint)); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if got, want := len(s.Peaks), bits.OnesCount64(s.head.Size); got != want {
		return fmt.Errorf("%d peaks instead of %d for a tree of size %d", got, want, s.head.Size)
	}
	root := entry.Hash(sha256.Sum256(nil))
	if len(s.Peaks) > 0 {
		root = rootOf(s.Peaks)
	}
	if root != s.head.Root {
		return errors.New("the peaks do not yield the root in the checkpoint")
	}
	if s.Stream != nil {
		if err := s.Stream.check(s.head.Size); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
	}
	return nil
}

func (s *StreamState) check(size uint64) error {
	end := uint64(0) // of the gaps so far
	for i, m := range s.Missing {
		if m.First > m.Last || (i > 0 && m.First <= end) || m.Last+1 >= s.Next {
			return fmt.Errorf("missing[%d] is out of place", i)
		}
		end = m.Last + 1
	}
	if s.Found() > size || (s.Next > 0 && s.LastIndex >= size) {
		return fmt.Errorf("%d entries, the last at index %d, in a log of %d entries", s.Found(), s.LastIndex, size)
	}
	return nil
}

// Found returns the number of sequence numbers found.
func (s *StreamState) Found() uint64 {
	n := s.Next
	for _, m := range s.Missing {
		n -= m.Last - m.First + 1
	}
	return n
}

// gap returns the position of the sequence number in Missing, or the position
// where it would be inserted.
func (s *StreamState) gap(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(s.Missing, seq, func(m SeqRange, seq uint64) int {
		switch {
		case m.Last < seq:
			return -1
		case m.First > seq:
			return 1
		}
		return 0
	})
}

// usable returns an error if an audit of this log with this key cannot continue
// from the state.
func (s *State) usable(origin string, key *entry.StreamKey) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	if s.head.Origin != origin {
		return fmt.Errorf("%w: it is for the log %q, but the policy is for %q; use a separate state file for each log", ErrState, s.head.Origin, origin)
	}
	switch {
	case s.Stream == nil:
	case key == nil:
		return fmt.Errorf("%w: it follows the stream %s; use the stream's key, or another state file", ErrState, s.Stream.ID)
	case key.StreamID() != s.Stream.ID:
		return fmt.Errorf("%w: it follows the stream %s, but the key is for the stream %s; use a separate state file for each stream", ErrState, s.Stream.ID, key.StreamID())
	}
	return nil
}
