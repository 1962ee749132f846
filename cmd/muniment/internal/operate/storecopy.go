package operate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/verifiers/facts"
)

type storeCmd struct {
	Copy   storeCopyCmd   `cmd:"" help:"Copy a stopped log to another store, where it goes on."`
	Reopen storeReopenCmd `cmd:"" help:"Undo a copy: the log goes on in the store that it was copied from."`
}

type storeCopyCmd struct {
	From string `arg:"" help:"URL of the store that has the log: pebble:DIR/store, where DIR is the data folder, or postgres://…"`
	To   string `arg:"" help:"URL of the store to make. There must be none."`
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	term.ResultFlags
}

func (storeCopyCmd) Help() string {
	return `All servers of the log must be stopped. The copy has the same entries, checkpoints, cosignatures and index, and what was erased is erased. It is made where
no server looks for a store. Then it is read whole: its tree is computed from its entries, and compared with every checkpoint. Only a copy without a
finding is put in place, and the log then refuses to go on in its old store. Until then the old store is left as it was. If the command is interrupted,
run it again: it continues.

Exit code: 0 copied; 1 refused: the log is damaged, older than an anchor, or was served meanwhile; 2 failed.

Examples:
  muniment store copy pebble:data/store 'postgres://muniment@db1,db2/muniment?target_session_attrs=read-write' --data data
  muniment store copy 'postgres://muniment@db1,db2/muniment?target_session_attrs=read-write' pebble:data/store --data data`
}

func (c *storeCopyCmd) Run(a *term.App) error {
	l, err := loadMovable(c.Data)
	if err != nil {
		return err
	}
	from, err := l.kind.At(c.Data, c.From)
	if err != nil {
		return err
	}
	to, err := l.kind.At(c.Data, c.To)
	if err != nil {
		return err
	}
	m := &move{app: a, log: l, data: c.Data, kind: from, from: from.Plain(c.Data), to: to.Plain(c.Data), logger: a.StoreLogger(slog.LevelError)}
	r, err := m.run(a.Ctx)
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted: the log is unchanged: run the same command again to continue (%w)", err)
	case refusesMove(err):
		return term.ExitWith(term.ExitNo, err)
	case err != nil:
		return err
	}
	return c.Print(a, r)
}

// loadMovable returns the log of a data folder.
func loadMovable(data string) (*checkedLog, error) {
	l, err := loadCheckedLog(data)
	if err != nil {
		return nil, err
	}
	if l.kind.Replica {
		return nil, fmt.Errorf("%s is a replica, which is always in its folder: import the log's deltas into a new folder instead", data)
	}
	l.kind.Small = true
	return l, nil
}

func refusesMove(err error) bool {
	for _, is := range []error{ledger.ErrCopy, store.ErrDamaged, ledger.ErrIndexDamaged, store.ErrStale} {
		if errors.Is(err, is) {
			return true
		}
	}
	return errors.As(err, new(*datadir.RolledBackError))
}

// A move is the copy of a log, and its step from one store to the other.
type move struct {
	app      *term.App
	log      *checkedLog
	data     string
	kind     datadir.StoreKind // of the source
	from, to string            // URLs
	logger   *slog.Logger
}

func (m *move) run(ctx context.Context) (_ *moveResult, err error) {
	stage, err := engine.Stage(ctx, m.to)
	if err != nil {
		return nil, fmt.Errorf("copy to %s: %w", engine.Name(m.to), err)
	}
	from, mark, err := datadir.OpenMoved(ctx, m.data, m.kind, m.logger)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	report, err := m.copy(ctx, from, stage, mark.Checkpoint)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if err := engine.Retire(ctx, m.from, report.Size, m.to); err != nil {
		return nil, err
	}
	if err := engine.Install(ctx, m.to); err != nil {
		return nil, fmt.Errorf("%w\nThe copy is whole, but not in place, and the old store accepts nothing: run the same command again, or undo it: muniment store reopen FROM --data %s", err, m.data)
	}
	return m.result(report), nil
}

// copy makes the copy, or continues one.
func (m *move) copy(ctx context.Context, from store.Store, stage string, published []byte) (_ *ledger.CopyReport, err error) {
	st, err := from.Follow(ctx, 0)
	if err != nil {
		return nil, err
	}
	to, err := m.openStage(ctx, stage, st, published)
	if err != nil {
		return nil, fmt.Errorf("copy to %s: %w", engine.Name(m.to), err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	shows, finishes := map[ledger.CopyStep]func(done, total uint64){}, []func(){}
	for _, step := range []ledger.CopyStep{ledger.CopyEntries, ledger.CheckCopy} {
		show, finish := m.app.ProgressFunc(string(step))
		shows[step], finishes = show, append(finishes, finish)
	}
	defer func() {
		for _, finish := range finishes {
			finish()
		}
	}()
	return ledger.Copy(ctx, ledger.CopyConfig{
		From: from, To: to, Published: published, ReserveBytes: m.log.reserve,
		Check:    ledger.StoreCheck{Origin: m.log.kind.Origin, Verify: m.log.verify, Streams: m.log.streams, Derive: facts.Derive},
		Progress: func(step ledger.CopyStep, done, total uint64) { shows[step](done, total) },
	})
}

// openStage opens the copy. One that an interrupted command has left is
// continued if the log has published nothing since.
func (m *move) openStage(ctx context.Context, stage string, st *store.State, published []byte) (store.Store, error) {
	for range 2 {
		s, kept, err := datadir.OpenCopy(ctx, m.data, stage, m.kind, &st.Secret, m.logger)
		if errors.Is(err, store.ErrInUse) {
			return nil, errors.New("another copy to it is under way")
		}
		var has *store.State
		if err == nil {
			if has, err = s.Follow(ctx, 0); err != nil {
				err = errors.Join(err, s.Close())
			}
		}
		switch {
		case err != nil && !errors.Is(err, store.ErrDamaged):
			return nil, err
		case err == nil && has.Secret == st.Secret && (has.Size == 0 || kept != nil && string(kept.Checkpoint) == string(published)):
			return s, nil
		case err == nil:
			if err := s.Close(); err != nil {
				return nil, err
			}
		}
		if err := engine.Discard(ctx, m.to); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("another copy to it is under way")
}

// A moveResult is the result of store copy.
type moveResult struct {
	Origin string `json:"origin"`
	From   string `json:"from"`
	To     string `json:"to"`
	*ledger.CopyReport
	Root string   `json:"root"`
	Next []string `json:"next"` // steps
}

func (m *move) result(r *ledger.CopyReport) *moveResult {
	config := m.data + "/" + datadir.ConfigFile
	result := &moveResult{Origin: m.log.kind.Origin, From: engine.Name(m.from), To: engine.Name(m.to), CopyReport: r, Root: r.Root.Base64()}
	if engine.Shared(m.to) {
		result.Next = append(result.Next, "set store: to this URL in "+config)
	} else {
		settings := "store:"
		if m.kind.Objects != "" {
			settings = "store: and objects:"
		}
		result.Next = append(result.Next, "remove "+settings+" from "+config)
	}
	result.Next = append(result.Next, "muniment serve --data "+m.data)
	if !engine.Shared(m.from) {
		result.Next = append(result.Next, "when it works, delete the old store while no server runs: "+datadir.DeleteMoved(m.data))
	}
	return result
}

// Text implements term.Result.
func (r *moveResult) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "✓ COPIED AND VERIFIED  %s\n", r.Origin)
	resumed := ""
	if r.Resumed > 0 {
		resumed = fmt.Sprintf(" (%d were there from an interrupted copy)", r.Resumed)
	}
	fmt.Fprintf(&b, "  entries      %d%s\n  root         %s\n", r.Size, resumed, r.Root)
	fmt.Fprintf(&b, "  payloads     %d, %s; %d erased\n  checkpoints  %d\n", r.Payloads, term.Count(r.Bytes, "byte"), r.Erased, r.Checkpoints)
	fmt.Fprintf(&b, "  from         %s, which does not go on\n  to           %s\n", r.From, r.To)
	b.WriteString("next:\n")
	for _, step := range r.Next {
		fmt.Fprintf(&b, "  %s\n", step)
	}
	return b.String()
}

type storeReopenCmd struct {
	URL  string `arg:"" help:"URL of the store that the log was copied from."`
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	term.ResultFlags
}

func (storeReopenCmd) Help() string {
	return `After 'muniment store copy', the log goes on in the copy. This undoes that, for a copy that no server has recorded anything in. Delete the copy first: two
stores that go on are a fork of the log, which verifiers detect and nothing repairs. A store that is older than the data folder's publish mark or an
anchor is refused.

Exit code: 0 the log can go on in the store; 1 refused: it is damaged, or older than an anchor; 2 failed.

Example:
  muniment store reopen pebble:data/store --data data`
}

func (c *storeReopenCmd) Run(a *term.App) error {
	l, err := loadMovable(c.Data)
	if err != nil {
		return err
	}
	kind, err := l.kind.At(c.Data, c.URL)
	if err != nil {
		return err
	}
	size, err := reopen(a.Ctx, c.Data, kind, a.StoreLogger(slog.LevelError))
	if refusesMove(err) {
		return term.ExitWith(term.ExitNo, err)
	}
	if err != nil {
		return err
	}
	return c.Print(a, reopenResult{Store: engine.Name(kind.Plain(c.Data)), Size: size})
}

func reopen(ctx context.Context, data string, kind datadir.StoreKind, log *slog.Logger) (size uint64, err error) {
	s, _, err := datadir.OpenMoved(ctx, data, kind, log)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	st, err := s.Follow(ctx, 0)
	if err != nil {
		return 0, err
	}
	return st.Size, engine.Revive(ctx, kind.Plain(data))
}

type reopenResult struct {
	Store string `json:"store"`
	Size  uint64 `json:"size"`
}

// Text implements term.Result.
func (r reopenResult) Text() string {
	return fmt.Sprintf("the log can go on in %s, at size %d\n", r.Store, r.Size)
}
