package operate

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/verifiers/facts"
)

type reindexCmd struct {
	Data  string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	Rekor bool   `help:"Reindex the Rekor log, whose index contains only deduplication keys."`
	Check bool   `help:"Compare only, and write nothing."`
	JSON  bool   `help:"Print JSON."`
}

// differences describes the findings of a reindex.
func differences(r *ledger.ReindexReport) string {
	var parts []string
	if r.Unreadable != "" {
		parts = append(parts, "the index cannot be read ("+r.Unreadable+")")
	} else {
		parts = append(parts, fmt.Sprintf("%d missing, %d wrong", r.Missing, r.Extra))
	}
	return strings.Join(append(parts, term.Count(uint64(r.Heads), "wrong stream head"), term.Count(r.Tiles, "wrong tile")), ", ")
}

func (reindexCmd) Help() string {
	return `The server must be stopped. Search index, deduplication keys, stream heads and full tiles are computed from the entries and compared with the stored
ones. Rows that differ or cannot be read are replaced. This needs as much free disk space as the index takes.

Exit code: 0 nothing differed, or everything was repaired; 1 with --check: something differs; 2 failed.

Examples:
  muniment reindex --data ./data --check
  muniment reindex --data ./data`
}

func (c *reindexCmd) Run(a *term.App) (err error) {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	if d.Replica != nil {
		return fmt.Errorf("%s is a replica, whose index cannot be rebuilt: import the log's deltas into a new folder instead", c.Data)
	}
	log := a.StoreLogger(slog.LevelWarn)
	kind := d.LogStore()
	if c.Rekor {
		if _, err := os.Stat(filepath.Join(c.Data, datadir.RekorStoreDir)); err != nil {
			return fmt.Errorf("--rekor: %s has no Rekor log with entries: %w", c.Data, err)
		}
		signer, _, err := datadir.LoadRekorKeys(c.Data)
		if err != nil {
			return err
		}
		kind = datadir.RekorStore(signer.Name())
	}
	kind.Reindex = true
	var s store.Store
	if c.Check {
		s, _, err = datadir.OpenStoreReadOnly(a.Ctx, c.Data, kind, log)
		err = datadir.AdviseStart(err)
	} else {
		s, err = datadir.OpenStore(a.Ctx, c.Data, kind, log)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	dir, err := owner.MkdirTemp(c.Data, "reindex-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	scratch, err := engine.Open(a.Ctx, engine.InFolder(dir), store.Options{Logger: log, Raw: c.Rekor, Scratch: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	show, finish := a.ProgressFunc("reindex")
	r, err := ledger.Reindex(a.Ctx, s, scratch, d.Config.Origin, facts.Derive, !c.Check, show)
	finish()
	if err != nil {
		return err
	}
	if c.JSON {
		if err := term.WriteJSON(a.Stdout, r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.Stdout, "%s in %s: %s, %s\n", term.Count(r.Entries, "entry"), term.Count(r.Streams, "stream"), term.Count(r.Keys, "deduplication key"), term.Count(r.Terms, "search posting"))
		switch {
		case r.Same():
			fmt.Fprintln(a.Stdout, "the store matches")
		case r.Written:
			fmt.Fprintf(a.Stdout, "repaired: %s\n", differences(r))
		default:
			fmt.Fprintf(a.Stdout, "the store differs: %s; run without --check to repair it\n", differences(r))
		}
	}
	if !r.Same() && !r.Written {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}
