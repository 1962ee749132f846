package operate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
)

type replicaCmd struct {
	Init replicaInitCmd `cmd:"" help:"Make the data folder of a replica."`
}

// serveReplica serves a replica, which follows a server or takes imports
// meanwhile.
func (c *serveCmd) serveReplica(a *term.App, d *datadir.Dir, log *slog.Logger, reload *reloader) (err error) {
	if c.RekorListen != "" || d.Config.Rekor.Listen != "" {
		return errors.New("a replica serves no Rekor log: remove --rekor-listen and rekor.listen")
	}
	store, err := datadir.OpenStore(a.Ctx, c.Data, d.ReplicaStore(), log)
	if err != nil {
		return refuseFork(err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	metrics := api.NewMetrics(a.Version)
	f, err := newFollower(a.Ctx, &c.followFlags, d, log, store, metrics)
	if err != nil {
		return err
	}
	if f != nil {
		if reload.health != "" { // to fetch the whole log can take long
			if reload.early, err = listenForHealth(a, d, log, reload); err != nil {
				return err
			}
			defer reload.early.Close()
		}
		if err := f.begin(a.Ctx); err != nil {
			return followed(a, err)
		}
	}
	l, err := ledger.OpenReplica(a.Ctx, ledger.Config{Store: store, Logger: log, EntryCache: ledger.DefaultEntryCache}, d.Replica)
	if err != nil {
		return err
	}
	defer l.Close()
	metrics.Watch(l, store.FreeBytes)
	metrics.WatchReplica(l)
	kept, err := spool.Make(filepath.Join(c.Data, datadir.SpoolDir))
	if err != nil {
		return err
	}
	defer kept.Close()
	if reload.server, err = api.New(a.Ctx, api.Config{Ledger: l, Settings: d.Settings(), Portal: d.Portal(), FreeBytes: store.FreeBytes, Version: a.Version, Logger: log, Metrics: metrics, Spool: kept, Policy: d.Replica}); err != nil {
		return err
	}
	stop, err := c.grow(a, d, log, l, kept, f)
	if err != nil {
		return err
	}
	defer stop()
	log.Info("this is a read-only replica: it accepts no appends", "as_of", l.AsOf())
	return c.serve(a, d, log, l, reload.server, nil, nil, reload)
}

// followed returns the error of a follower, or nil if it was interrupted.
func followed(a *term.App, err error) error {
	if a.Ctx.Err() != nil {
		return nil
	}
	return refuseFork(err)
}

// grow starts what lets an open replica grow. The returned function stops it.
func (c *serveCmd) grow(a *term.App, d *datadir.Dir, log *slog.Logger, l *ledger.Ledger, kept *spool.Spool, f *follower) (stop func(), err error) {
	closeImports, err := datadir.TakeImports(c.Data, func(ctx context.Context, file *os.File, progress func(done, total uint64)) (*ledger.ImportReport, error) {
		info, err := file.Stat()
		if err != nil {
			return nil, err
		}
		o := d.Imports()
		o.Progress = progress
		r, err := l.Import(ctx, file, info.Size(), o)
		if err != nil {
			return nil, err
		}
		if r.Already {
			log.Info("a delta was imported before", "from", r.From, "to", r.To)
			return r, datadir.AnchorImport(c.Data)
		}
		log.Info("imported a delta", "from", r.From, "to", r.To, "records", r.Records)
		return r, datadir.AnchorImport(c.Data)
	})
	if err != nil {
		return nil, fmt.Errorf("take imports: %w", err)
	}
	if f == nil {
		return closeImports, nil
	}
	f.ledger, f.spool = l, kept
	ctx, cancel := context.WithCancel(a.Ctx)
	var running sync.WaitGroup
	running.Go(func() {
		defer crash.Report()
		_ = f.run(ctx) // logged: what the replica has stays true
	})
	return func() {
		cancel()
		running.Wait()
		closeImports()
	}, nil
}
