package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/verifiers/facts"
)

type fsckCmd struct {
	Data  string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	Rekor bool   `help:"Check the store of the Rekor log."`
	JSON  bool   `help:"Print JSON lines: findings, notes and a summary."`
}

func (fsckCmd) Help() string {
	return `Reads the whole store and compares every part with the log's tree. The server must be stopped. No file is changed.

Each finding ends with its remedy: start the server, muniment reindex, a backup or, for a replica, another import.

Exit code: 0 the store is sound; 1 it is damaged; 2 it could not be checked.

Examples:
  muniment fsck --data ./data
  muniment fsck --data ./data --json | jq 'select(.finding)'
  muniment fsck --data ./data --rekor`
}

// remedies contains the texts that are printed after a finding, and in the
// summary.
var remedies = []struct {
	remedy       ledger.Remedy
	advice, each string
}{
	{ledger.Restart, "repaired when the server starts", "can be repaired by starting the server"},
	{ledger.Rebuild, "can be rebuilt", "can be repaired with: muniment reindex"},
	{ledger.Restore, "must be restored from a backup", "can be repaired only from a backup"},
	{ledger.Reimport, "must be imported again", "can be repaired by importing the log's deltas into a new folder"},
	{ledger.Lost, "was recorded like this", "cannot be repaired: they were recorded like this"},
}

// Kinds of findings about files. ledger.FindingKinds are those about entries.
const (
	kindFile    = "file"
	kindJournal = "journal"
	KindMark    = "mark"
)

func (c *fsckCmd) Run(a *term.App) error {
	log, err := c.loadLog()
	if err != nil {
		return err
	}
	r := &fsckReport{app: a, json: c.JSON, replica: log.kind.Replica, remedies: map[ledger.Remedy]uint64{}}
	err = c.check(a.Ctx, log, r)
	r.flush()
	if err == nil {
		err = r.finish(log)
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("interrupted after %s", term.Count(r.damaged, "finding"))
	}
	return err
}

// check examines the journals, the rows, and then all files block by block.
func (c *fsckCmd) check(ctx context.Context, log *checkedLog, r *fsckReport) (err error) {
	x, err := engine.Examine(ctx, log.kind.URL(c.Data), log.kind.Options(slog.New(slog.DiscardHandler)))
	switch {
	case errors.Is(err, store.ErrInUse):
		return fmt.Errorf("%w: stop the server first", err)
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: no entry was written yet", err)
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	for _, d := range x.Damage() {
		r.file(log.kind.Name, kindJournal, d)
	}
	published := log.published(c.Data, x, r)
	if rows := x.Store(); rows != nil {
		if err := c.checkRows(ctx, log, rows, published, r); err != nil {
			return err
		}
	} else {
		r.note("the store cannot be opened, so only its files are checked")
	}
	show, finish := r.app.ProgressFunc("files")
	defer finish()
	return x.CheckFiles(ctx, show, func(d store.FileDamage) { r.file(log.kind.Name, kindFile, d) })
}

func (c *fsckCmd) checkRows(ctx context.Context, log *checkedLog, rows store.DamagedStore, published []ledger.PublishedCheckpoint, r *fsckReport) error {
	state, errs := rows.Salvage(ctx)
	for _, err := range errs {
		r.report(ledger.Finding{Kind: "state", Problem: plain.FileErrors(err), Remedy: ledger.Restore})
	}
	show, finish := r.app.ProgressFunc("entries")
	sum, err := ledger.CheckStore(ctx, ledger.StoreCheck{Store: rows, State: state, Replica: log.kind.Replica, Origin: log.kind.Origin,
		Verify: log.verify, Published: published, Streams: log.streams, Derive: facts.Derive, Report: r.report, Progress: show})
	finish()
	if err != nil {
		return err
	}
	r.sum = sum
	unused, err := rows.UnusedFiles(ctx)
	if err != nil {
		r.report(ledger.Finding{Kind: kindFile, File: log.kind.Name + "/large", Problem: plain.FileErrors(err), Remedy: ledger.Restore})
	}
	for _, name := range unused {
		r.note(fmt.Sprintf("%s/%s is used by no entry; the next start of the server deletes it", log.kind.Name, name))
	}
	return nil
}

// published returns the checkpoints of the mark and the anchors.
func (l *checkedLog) published(data string, x store.Examination, r *fsckReport) (out []ledger.PublishedCheckpoint) {
	name := l.kind.Name
	m, err := x.Mark()
	if m == nil {
		r.note(fmt.Sprintf("%s cannot be used, as after a loss of power: %v", mark.Path(name), err))
	} else if m.Checkpoint != nil {
		out = append(out, ledger.PublishedCheckpoint{File: mark.Path(name), Signed: m.Checkpoint})
	}
	own := filepath.Join(data, name+datadir.AnchorSuffix)
	for _, path := range append([]string{own}, l.anchors...) {
		shown := path
		if path == own {
			shown = name + datadir.AnchorSuffix
		}
		signed, err := bounded.ReadFile(path, bounded.Config)
		switch {
		case err == nil:
			out = append(out, ledger.PublishedCheckpoint{File: shown, Signed: signed})
		case path == own && m == nil:
			r.report(ledger.Finding{Kind: KindMark, File: shown, Problem: fmt.Sprintf("neither it nor the publish mark can be used: %v", err), Remedy: ledger.Restore})
		case !errors.Is(err, os.ErrNotExist):
			r.note(fmt.Sprintf("%s cannot be read: %v", shown, err))
		}
	}
	return out
}

// An fsckReport prints findings as they come, and merges equal findings about
// consecutive entries.
type fsckReport struct {
	app      *term.App
	json     bool
	replica  bool
	last     *ledger.Finding
	sum      *ledger.StoreSummary
	damaged  uint64
	remedies map[ledger.Remedy]uint64
	err      error // of standard output
}

func (r *fsckReport) file(folder, kind string, d store.FileDamage) {
	f := ledger.Finding{Kind: kind, File: folder, Problem: d.Err.Error(), Remedy: ledger.Restore}
	if d.Name != "" {
		f.File = folder + "/" + d.Name
	}
	r.report(f)
}

// report prints a finding.
func (r *fsckReport) report(f ledger.Finding) {
	if r.replica && (f.Remedy == ledger.Rebuild || f.Remedy == ledger.Restore) {
		f.Remedy = ledger.Reimport
	}
	r.damaged++
	r.remedies[f.Remedy]++
	if l := r.last; l != nil && l.Entry != nil && f.Entry != nil && l.Kind == f.Kind && l.Problem == f.Problem && l.File == f.File {
		end := l.Entry
		if l.To != nil {
			end = l.To
		}
		if *f.Entry == *end+1 {
			l.To = f.Entry
			if !slices.Contains(strings.Split(l.Tenant, ", "), f.Tenant) {
				l.Tenant += ", " + f.Tenant
			}
			return
		}
	}
	r.flush()
	r.last = &f
}

// flush prints the finding that waits for equal ones.
func (r *fsckReport) flush() {
	f := r.last
	r.last = nil
	switch {
	case f == nil:
	case r.json:
		r.line(struct {
			Finding *ledger.Finding `json:"finding"`
		}{f})
	default:
		r.print("✗ %s: %s (%s)\n", findingSubject(f), term.Indented(f.Problem), adviceOf(f.Remedy))
	}
}

func (r *fsckReport) note(text string) {
	r.flush()
	if r.json {
		r.line(struct {
			Note string `json:"note"`
		}{text})
		return
	}
	r.print("note: %s\n", term.Indented(text))
}

func (r *fsckReport) line(v any) {
	if r.err == nil {
		r.err = json.NewEncoder(r.app.Stdout).Encode(v)
	}
}

func (r *fsckReport) print(format string, args ...any) {
	if r.err == nil {
		_, r.err = fmt.Fprintf(r.app.Stdout, format, args...)
	}
}

func findingSubject(f *ledger.Finding) string {
	s := f.Kind
	if f.File != "" {
		s = term.Quoted(f.File)
	}
	if f.Entry == nil {
		return s
	}
	at := fmt.Sprintf("entry %d", *f.Entry)
	if f.To != nil {
		at = fmt.Sprintf("entries %d to %d", *f.Entry, *f.To)
	}
	if f.Tenant != "" {
		at += " of " + f.Tenant
	}
	return at + ", " + s
}

func adviceOf(want ledger.Remedy) string {
	for _, m := range remedies {
		if m.remedy == want {
			return m.advice
		}
	}
	return string(want)
}

// finish prints the summary, and returns exit code 1 if the store is damaged.
func (r *fsckReport) finish(log *checkedLog) error {
	if r.json {
		r.line(struct {
			Summary any `json:"summary"`
		}{struct {
			Store    string                   `json:"store"`
			Origin   string                   `json:"origin"`
			Sound    bool                     `json:"sound"`
			Damaged  uint64                   `json:"damaged"`
			Remedies map[ledger.Remedy]uint64 `json:"remedies"`
			Checked  *ledger.StoreSummary     `json:"checked,omitempty"`
		}{log.kind.Name, log.kind.Origin, r.damaged == 0, r.damaged, r.remedies, r.sum}})
	} else {
		r.printSummary()
	}
	if r.err != nil {
		return r.err
	}
	if r.damaged > 0 {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

func (r *fsckReport) printSummary() {
	if s := r.sum; s != nil {
		r.print("checked %s in %s: %s, %s, %s of %s, %s\n", term.Count(s.Entries, "entry"), term.Count(uint64(s.Streams), "stream"),
			term.Count(s.Tiles, "full tile"), term.Count(s.Checkpoints, "checkpoint"),
			term.Count(s.Payloads, "payload"), term.Count(s.Bytes, "byte"), term.Count(s.Keys+s.Postings, "index row"))
	}
	if r.damaged == 0 {
		r.print("the store is sound\n")
		return
	}
	r.print("the store is damaged: %s\n", term.Count(r.damaged, "finding"))
	for _, m := range remedies {
		if n := r.remedies[m.remedy]; n > 0 {
			r.print("  %d %s\n", n, m.each)
		}
	}
}
