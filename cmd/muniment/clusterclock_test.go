package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/receipt"
)

// A server whose clock is wrong by more than the others tolerate neither
// records nor keeps them from recording. Appends to it are forwarded, or
// refused with the remedy if the servers forward nothing.
func TestServerWithWrongClock(t *testing.T) {
	soak.WithoutRace(t)
	rig := newPlainRig(t)
	rig.bin = nextProgram(t)
	for name, elect := range map[string]bool{"forwards": true, "records alone": false} {
		t.Run(name, func(t *testing.T) {
			l := newFaultLog(t, rig, "clock_"+strings.ReplaceAll(name, " ", "_"), elect, 3*time.Minute)
			defer l.end(t)
			c := newFaultClients(t, l, 1)
			wrong := l.servers[0]
			for _, s := range l.servers[1:] {
				await(t, s.url+" to record", func() bool { return c.works(s, "the clock of another is wrong") })
			}
			if elect {
				await(t, "the server with the wrong clock to forward", func() bool { return c.works(wrong, "its clock is wrong") })
			} else if c.works(wrong, "its clock is wrong") {
				t.Error("a server with a wrong clock has recorded")
			}
			code, text := readiness(t, wrong)
			if code != http.StatusServiceUnavailable || !strings.Contains(text, "ahead of the clock of the database: set the one that is wrong") {
				t.Errorf("readiness of the server with the wrong clock: %d %s", code, text)
			}
			if code, text := readiness(t, l.servers[1]); code != http.StatusOK {
				t.Errorf("readiness of a server beside it: %d %s", code, text)
			}
			for index, a := range c.acked {
				r, err := receipt.Parse(a.receipt)
				if err != nil {
					t.Fatal(err)
				}
				if ahead := time.Until(time.UnixMilli(int64(r.Time))); ahead > time.Minute {
					t.Errorf("entry %d is dated %s in the future", index, ahead)
				}
			}
		})
	}
}

// readiness returns the answer of a server about itself.
func readiness(t *testing.T, s *faultServer) (int, string) {
	t.Helper()
	code, text, err := fetchText(s.url + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	return code, text
}
