package operate

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/internal/bounded"
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

# A replica imports deltas (muniment import FILE --data .) and serves reads.
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

// serveReplica serves the state of the last import.
func (c *serveCmd) serveReplica(a *term.App, d *datadir.Dir, log *slog.Logger, reload *reloader) error {
	if c.RekorListen != "" || d.Config.Rekor.Listen != "" {
		return errors.New("a replica serves no Rekor log: remove --rekor-listen and rekor.listen")
	}
	store, err := datadir.OpenStore(a.Ctx, c.Data, d.ReplicaStore(), log)
	if err != nil {
		return refuseFork(err)
	}
	l, err := ledger.OpenReplica(a.Ctx, ledger.Config{Store: store, Logger: log}, d.Replica)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	metrics := api.NewMetrics(a.Version)
	metrics.Watch(l, store.FreeBytes)
	log.Info("this is a read-only replica: it serves the state of the last import, and accepts no appends")
	kept, err := spool.Make(filepath.Join(c.Data, datadir.SpoolDir))
	if err != nil {
		l.Close()
		return errors.Join(err, store.Close())
	}
	defer kept.Close()
	s, err := api.New(a.Ctx, api.Config{Ledger: l, Settings: d.Settings(), FreeBytes: store.FreeBytes, Version: a.Version, Logger: log, Metrics: metrics, Spool: kept, Policy: d.Replica})
	if err != nil {
		l.Close()
		return errors.Join(err, store.Close())
	}
	reload.server = s
	err = c.serve(a, d, log, l, s, nil, nil, reload)
	l.Close()
	return errors.Join(err, store.Close())
}
