package adaptivecache

import "testing"

// TestResetAcknowledgesNothing checks that a late copy of a member's first
// poll does not acknowledge messages which the member has not applied.
func TestResetAcknowledgesNothing(t *testing.T) {
	s := NewSequencer("e", 1000, 16, 0)
	poll := func(p Poll, now int64) Grant {
		t.Helper()
		g, _, err := s.Poll(p, now)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	first := Poll{Member: "m"}
	if g := poll(first, 2000); !g.Reset {
		t.Fatal("the first poll is not answered by a reset")
	}
	poll(Poll{Member: "m", Epoch: "e"}, 2100)
	seq, err := s.Invalidate([]string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	poll(first, 2200)
	if complete, until := s.Completed(seq, 2200); complete || until != 2200+1125+1 {
		t.Errorf("complete %v, until %d; want false until the lease has ended", complete, until)
	}
	if g := poll(Poll{Member: "m", Epoch: "e"}, 2300); g.Reset || len(g.Messages) != 1 {
		t.Errorf("the message was not delivered: %+v", g)
	}
	poll(Poll{Member: "m", Epoch: "e", Applied: 1}, 2400)
	if complete, _ := s.Completed(seq, 2400); !complete {
		t.Error("an acknowledged message is not complete")
	}
}

func TestSequencerBounds(t *testing.T) {
	s := NewSequencer("e", 1000, 4, 0)
	if _, err := s.Invalidate(nil); err == nil {
		t.Error("a message without tags was ordered")
	}
	for range 10 {
		if _, err := s.Invalidate([]string{"a"}); err != nil {
			t.Fatal(err)
		}
	}
	for applied, reset := range map[uint64]bool{5: true, 6: false, 10: false, 11: true} {
		if g, _, _ := s.Poll(Poll{Member: "m", Epoch: "e", Applied: applied}, 0); g.Reset != reset {
			t.Errorf("applied %d: reset %v", applied, g.Reset)
		}
	}
	if complete, until := s.Completed(1, 1124); complete || until != 1125 {
		t.Errorf("a sequencer without an earlier state completed at once: until %d", until)
	}
	for i := range maxMembers {
		_, _, _ = s.Poll(Poll{Member: string(rune('A' + i))}, 0)
	}
	if _, _, err := s.Poll(Poll{Member: "one more"}, 0); err == nil {
		t.Error("too many members were admitted")
	}
	if _, _, err := s.Poll(Poll{Member: "one more"}, 5000); err != nil {
		t.Errorf("members without a lease take places: %v", err)
	}
}
