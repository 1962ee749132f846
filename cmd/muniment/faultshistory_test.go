package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// A logOperation is an operation on a log and its result.
type logOperation struct {
	kind operationKind
	n    uint64 // index of an entry, or size of a checkpoint
}

type operationKind int

const (
	appended operationKind = iota // an entry was recorded at index n
	sized                         // the log had n entries
	found                         // the log had an entry at index n
)

// never is the end of an operation whose caller had no answer.
const never = math.MaxInt64

// A logHistory is what the clients of a log have done and seen.
type logHistory struct {
	began time.Time

	mu    sync.Mutex // guards what follows
	ops   []porcupine.Operation
	roots map[uint64]entry.Hash // of checkpoints, by size
}

func newLogHistory() *logHistory {
	return &logHistory{began: time.Now(), roots: map[uint64]entry.Hash{}}
}

// now returns the time of a call or of an answer.
func (h *logHistory) now() int64 { return int64(time.Since(h.began)) }

// add adds an operation of a client.
func (h *logHistory) add(client int, op logOperation, call, answer int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: op, Call: call, Return: answer})
}

// count returns the number of operations.
func (h *logHistory) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops)
}

// see verifies a checkpoint that a server has shown, and keeps it.
func (h *logHistory) see(t *testing.T, policy *receipt.TrustPolicy, signed []byte) (size uint64) {
	cp, _, err := policy.VerifyCheckpoint(signed)
	if err != nil {
		t.Errorf("a checkpoint does not verify: %v", err)
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if root, ok := h.roots[cp.Size]; ok && root != cp.Root {
		t.Errorf("the log forked: two checkpoints of size %d have the roots %s and %s", cp.Size, root, cp.Root)
	}
	h.roots[cp.Size] = cp.Root
	return cp.Size
}

// check checks that the operations are those of one log, which grew from a size
// on entry by entry: each has an instant between its call and its answer at
// which its result was true.
func (h *logHistory) check(from uint64) error {
	model := porcupine.Model{
		Init: func() any { return from },
		Step: func(state, input, _ any) (bool, any) {
			size, op := state.(uint64), input.(logOperation)
			switch op.kind {
			case appended:
				return op.n == size, size + 1
			case sized:
				return op.n == size, size
			default:
				return op.n < size, size
			}
		},
	}
	// The checker tries operations in this order.
	slices.SortStableFunc(h.ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	if result := porcupine.CheckOperationsTimeout(model, h.ops, soak.Patience); result != porcupine.Ok {
		return fmt.Errorf("the history of %d operations is not that of one log: %s", len(h.ops), result)
	}
	return nil
}

// checkRoots checks that all checkpoints that were seen are of one log with
// these leaves.
func (h *logHistory) checkRoots(t *testing.T, leaves []entry.Hash) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var hashes []tlog.Hash
		for _, i := range indexes {
			hashes = append(hashes, stored[i])
		}
		return hashes, nil
	})
	for i, leaf := range leaves {
		more, err := tlog.StoredHashesForRecordHash(int64(i), tlog.Hash(leaf), reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
	}
	for size, root := range h.roots {
		if size > uint64(len(leaves)) {
			t.Errorf("a checkpoint of %d entries was published, and the log has %d", size, len(leaves))
			continue
		}
		if size == 0 {
			continue
		}
		if want, err := tlog.TreeHash(int64(size), reader); err != nil || entry.Hash(want) != root {
			t.Errorf("the checkpoint of size %d does not belong to the log: root %s, want %s (error %v)", size, root, entry.Hash(want), err)
		}
	}
}

// TestHistoriesOfOneLog checks that the checker accepts a history of one log,
// and refuses three that are none.
func TestHistoriesOfOneLog(t *testing.T) {
	for name, c := range map[string]struct {
		ops  []porcupine.Operation
		want bool
	}{
		"concurrent": {[]porcupine.Operation{
			{ClientId: 0, Input: logOperation{appended, 3}, Call: 0, Return: 10},
			{ClientId: 1, Input: logOperation{appended, 2}, Call: 5, Return: never},
			{ClientId: 2, Input: logOperation{sized, 4}, Call: 6, Return: 9},
			{ClientId: 3, Input: logOperation{found, 2}, Call: 6, Return: 9},
		}, true},
		"a checkpoint goes back": {[]porcupine.Operation{
			{ClientId: 0, Input: logOperation{appended, 2}, Call: 0, Return: 20},
			{ClientId: 1, Input: logOperation{sized, 3}, Call: 1, Return: 2},
			{ClientId: 1, Input: logOperation{sized, 2}, Call: 3, Return: 4},
		}, false},
		"an entry twice": {[]porcupine.Operation{
			{ClientId: 0, Input: logOperation{appended, 2}, Call: 0, Return: 1},
			{ClientId: 1, Input: logOperation{appended, 2}, Call: 0, Return: 1},
		}, false},
		"a checkpoint without what was acknowledged": {[]porcupine.Operation{
			{ClientId: 0, Input: logOperation{appended, 2}, Call: 0, Return: 1},
			{ClientId: 1, Input: logOperation{sized, 2}, Call: 2, Return: 3},
		}, false},
	} {
		h := newLogHistory()
		h.ops = c.ops
		if err := h.check(2); (err == nil) != c.want {
			t.Errorf("%s: error %v, want accepted: %t", name, err, c.want)
		}
	}
}
