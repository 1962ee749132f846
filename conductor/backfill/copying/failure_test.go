package copying_test

import (
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/backfill/copying"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/internal/peers/postgresrig"
)

// TestServerCrash kills the server during the copy, which continues when the
// server is back. The fence still holds, because no other runner came.
func TestServerCrash(t *testing.T) {
	server := postgresrig.ForTest(t, postgresrig.Config{})
	b := newBenchOn(t, server, plain(200))
	b.config.First, b.config.Most = 20, 20
	hold := b.acquire()
	h := &hooks{}
	h.progress = func(p copying.Progress) error {
		if p.Position.Visited != 100 {
			return nil
		}
		if err := server.Kill(); err != nil {
			return err
		}
		go func() {
			if err := server.Restart(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		return nil
	}
	must(t, copying.Run(t.Context(), b.config, hold, h))
	if len(h.retries) == 0 {
		t.Error("the copy did not notice the crash")
	}
	b.admin = b.connect()
	b.judge()
	if last := h.chunks[len(h.chunks)-1].Position; last.Written != 200 {
		t.Errorf("wrote %d rows", last.Written)
	}
}

// TestSchemaChanged changes the table during the copy.
func TestSchemaChanged(t *testing.T) {
	for change, want := range map[string]string{
		"ALTER TABLE t DROP COLUMN other, ADD COLUMN more int DEFAULT 7; CREATE INDEX ON t (more)": "",
		"ALTER TABLE t RENAME COLUMN v__new TO mine":                                               "SQLSTATE 42703",
		"ALTER TABLE t DROP COLUMN v__todo":                                                        "SQLSTATE 42703",
		"ALTER TABLE t RENAME TO u":                                                                "SQLSTATE 42P01",
		"ALTER TABLE t RENAME COLUMN id TO key":                                                    "SQLSTATE 42703",
	} {
		b := newBench(t, plain(100))
		b.config.First, b.config.Most = 20, 20
		h := &hooks{progress: func(p copying.Progress) error {
			if p.Position.Visited == 40 {
				b.exec(change)
			}
			return nil
		}}
		hold := b.acquire()
		err := copying.Run(t.Context(), b.config, hold, h)
		if want == "" {
			must(t, err)
			b.judge()
		} else if err == nil || !strings.Contains(err.Error(), want) || len(h.retries) > 0 {
			t.Errorf("%s: %v after %v", change, err, h.retries)
		}
		p, err := state.LoadPosition(t.Context(), b.admin, "job")
		must(t, err)
		if want != "" && p.Visited != 40 {
			t.Errorf("%s: the position is %+v", change, p)
		}
	}
}
