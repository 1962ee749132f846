package operate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/mark"
)

type replicaCmd struct {
	Init replicaInitCmd `cmd:"" help:"Make the data folder of a replica."`
}

type replicaInitCmd struct {
	Dir     string            `arg:"" help:"Folder to make. It must not exist, or must be empty."`
	Policy  string            `help:"Policy file of the log. Every import is verified with its keys." required:"" env:"MUNIMENT_POLICY" predictor:"file"`
	Tenants map[string]string `name:"tenant" help:"Tenant whose evidence the replica contains, and its stream key, which proves that each import is complete. May be repeated." required:"" placeholder:"NAME=KEY-FILE"`
	term.ResultFlags
}

func (replicaInitCmd) Help() string {
	return `A replica is a read-only copy of a log, with the evidence of some tenants, on a machine that cannot reach the log. Imported deltas update it. Each tenant
gets a token that is valid for this replica only.

Exit code: 0 made; 2 failed.

Examples:
  muniment replica init ./replica --policy policy --tenant acme=acme.key
  muniment import acme-4711.delta --data ./replica
  muniment serve --data ./replica`
}

const replicaTemplate = `# The configuration of a replica of a Muniment log. The server reads it when it starts.

# The log that this is a copy of. Its keys are in the file policy.
origin: %q

# A replica serves reads. It grows by deltas (muniment import FILE --data .), or
# follows the log's server (muniment serve --follow URL).
replica: true

# Address to listen on. --listen overrides it.
listen: 127.0.0.1:7480

# Serve /tlog/ without a token.
public_tlog: true

# Serve HTTPS: PEM files, relative to this folder.
# tls:
#   cert: server.crt
#   key: server.key

limits:
  # An import writes nothing when the disk has less free space than this.
  disk_reserve_bytes: 536870912
  # Open connections.
  connections: 8192

# The tenants whose evidence the replica contains, with the SHA-256 of their tokens.
tenants:
`

func (c *replicaInitCmd) Run(a *term.App) error {
	text, err := bounded.ReadFile(c.Policy, bounded.Config)
	if err != nil {
		return fmt.Errorf("--policy: %w", err)
	}
	policy, err := datadir.ParsePolicy(c.Policy, text)
	if err != nil {
		return err
	}
	if policy.PostQuantum() {
		return errors.New("--policy: give the policy with the log's Ed25519 key, which signs deltas")
	}
	names, keys := slices.Sorted(maps.Keys(c.Tenants)), map[string]*entry.StreamKey{}
	for _, name := range names {
		if err := entry.CheckTenantName(name); err != nil {
			return fmt.Errorf("--tenant %s: %w", name, err)
		}
		if keys[name], err = datadir.ReadStreamKey(c.Tenants[name]); err != nil {
			return fmt.Errorf("--tenant %s: %w", name, err)
		}
	}
	if err := datadir.MakeFolder(c.Dir); err != nil {
		return err
	}
	if err := mark.Create(filepath.Join(c.Dir, datadir.StoreDir)); err != nil {
		return err
	}
	var tenants string
	for _, name := range names {
		lines, err := addTenantWith(c.Dir, name, *keys[name], "reader")
		if err != nil {
			return err
		}
		tenants += lines
	}
	for _, f := range []struct {
		name, content string
		mode          os.FileMode
	}{
		{datadir.PolicyFile, string(text), 0o644},
		// last: with it the folder is complete
		{datadir.ConfigFile, fmt.Sprintf(replicaTemplate, policy.Origin()) + tenants, 0o600},
	} {
		if err := datadir.WriteNew(filepath.Join(c.Dir, f.name), f.content, f.mode); err != nil {
			return err
		}
	}
	made := &term.Made{Title: fmt.Sprintf("Made a replica of the log %s in %s", policy.Origin(), c.Dir), Origin: policy.Origin(), Folder: c.Dir, Files: []term.MadeFile{
		{File: datadir.ConfigFile, Purpose: "configuration"},
		{File: datadir.PolicyFile, Purpose: "the log's keys"},
	}, Next: []string{"muniment import FILE.delta --data " + c.Dir, "muniment serve --data " + c.Dir}}
	for _, name := range names {
		made.Files = append(made.Files, term.MadeFile{File: tenantToken(name), Purpose: fmt.Sprintf("tenant %s's token for this replica", name)})
	}
	return c.Print(a, made)
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
	f, err := newFollower(&c.followFlags, d, log, store, metrics)
	if err != nil {
		return err
	}
	if f != nil {
		if err := f.begin(a.Ctx); err != nil {
			return followed(a, err)
		}
	}
	l, err := ledger.OpenReplica(a.Ctx, ledger.Config{Store: store, Logger: log}, d.Replica)
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
	if reload.server, err = api.New(a.Ctx, api.Config{Ledger: l, Settings: d.Settings(), FreeBytes: store.FreeBytes, Version: a.Version, Logger: log, Metrics: metrics, Spool: kept, Policy: d.Replica}); err != nil {
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
