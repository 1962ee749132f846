package storetest

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"muniment.dev/muniment/ledger/store"
)

// testRecords commits the records of some entries beside the leaves of all, as
// a replica does.
func testRecords(t *testing.T, disk Disk) {
	ctx := context.Background()
	raw, full, m := NewRawSource(9), NewSource(10), NewRawModel()
	s := open(t, disk)
	want := map[uint64]*store.Record{}
	for _, n := range []int{1, 2, 31, 32, 33, 70, 1} {
		c, records := raw.Next(n), full.Next(n)
		for i := range c.Leaves {
			index := c.From + uint64(i)
			if index%7 == 3 || index%5 == 1 || n == 33 && i > 20 {
				e := &records.Entries[i]
				r := &store.Record{Skeleton: e.Skeleton, Header: &e.Header, Payload: &e.Payload}
				if index%3 == 1 {
					r.Payload = nil // erased before it got here
				}
				if index%9 == 1 {
					r.Header, r.Payload = nil, nil
				}
				c.Leaves[i].Record, want[index] = r, r
			}
		}
		commit(t, s, c)
		m.Commit(Clone(c))
	}
	look := func() {
		t.Helper()
		if err := m.checkLeaves(ctx, s); err != nil {
			t.Fatal(err)
		}
		for index := range m.Size() {
			e, there := want[index]
			sk, err := s.Skeletons(ctx, index, index+1)
			h, herr := s.Header(ctx, index)
			p, perr := s.Payload(ctx, index)
			if !there {
				for _, err := range []error{err, herr, perr} {
					if !errors.Is(err, store.ErrNotFound) {
						t.Fatalf("entry %d has no record: got %v, %v, %v", index, err, herr, perr)
					}
				}
				continue
			}
			if err != nil || herr != nil || perr != nil || len(sk) != 1 || sk[0] != e.Skeleton {
				t.Fatalf("record %d: %v, %v, %v", index, err, herr, perr)
			}
			if !reflect.DeepEqual(h, e.Header) {
				t.Fatalf("record %d: the header is %v, want %v", index, h, e.Header)
			}
			if (p == nil) != (e.Payload == nil) || p != nil && (p.Salt != e.Payload.Salt || string(p.Content) != string(e.Payload.Content)) {
				t.Fatalf("record %d: the payload is wrong", index)
			}
		}
	}
	look()
	s = reopen(t, disk, s)
	look()
	closeStore(t, s)
}
