package evidence

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/logkey"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/witness"
)

type exportCmd struct {
	remote.Flags
	Since   uint64   `help:"Size of the log that the file continues: that of the replica, as 'muniment import' prints it. 0: from the beginning." required:"" placeholder:"SIZE"`
	Output  string   `short:"o" help:"File to write." required:"" placeholder:"FILE.delta" type:"path"`
	Policy  string   `help:"Policy file: check the file's signature and checkpoint once it is there." env:"MUNIMENT_POLICY" predictor:"file"`
	Data    string   `help:"Export from this data folder instead of a server; the server must be stopped." type:"path" placeholder:"DIR"`
	Tenants []string `help:"With --data: whose evidence to export. Default: that of all tenants." name:"only-tenant" placeholder:"NAME"`
	JSON    bool     `help:"Print JSON."`
}

func (exportCmd) Help() string {
	return `The file (docs/spec/delta.md) holds every leaf since then, the tenant's evidence, the signed checkpoint and a consistency proof, and is signed by the log. Carry
it to the other machine, and there: muniment import FILE --data DIR

Exit code: 0 written; 1 the log has not grown since, or what came does not verify; 2 it could not be done.

Examples:
  muniment export --since 0 -o acme-0.delta --policy policy
  muniment export --since 4711 -o acme-4711.delta
  muniment export --since 0 -o all.delta --data ./data`
}

func (c *exportCmd) Run(a *term.App) error {
	if len(c.Tenants) > 0 && c.Data == "" {
		return errors.New("--only-tenant is for --data; from a server, the token says which tenant's evidence comes")
	}
	policy, _, err := datadir.OptionalPolicy(c.Policy, "")
	if err != nil {
		return err
	}
	if _, err := os.Lstat(c.Output); err == nil {
		return fmt.Errorf("-o: %s is there already, and is not overwritten", c.Output)
	}
	var o *exported
	err = wholefile.CreateFile(c.Output, 0o600, func(f *os.File) error {
		var err error
		if c.Data != "" {
			err = c.fromFolder(a, f, &policy)
		} else {
			err = c.fromServer(a, f)
		}
		if err != nil {
			return remote.NotFound(err)
		}
		if o, err = c.check(f, policy); err != nil {
			return term.ExitWith(term.ExitNo, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return term.WriteJSON(a.Stdout, o)
	}
	fmt.Fprintf(a.Stdout, "%s  %s\n", c.Output, term.Count(o.Bytes, "byte"))
	if o.Checked {
		fmt.Fprintf(a.Stdout, "  the log %s from size %d to %d, signed by the log\n", o.Origin, o.From, o.To)
	} else {
		fmt.Fprintln(a.Stdout, "  not checked: give --policy to see that it is whole and signed by the log")
	}
	return nil
}

func (c *exportCmd) fromServer(a *term.App, w io.Writer) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	bar := a.ProgressBytes("export")
	defer bar.Finish()
	return client.Export(a.Ctx, io.MultiWriter(w, bar), c.Since)
}

// fromFolder opens the log itself. Its own policy will do to check the file.
func (c *exportCmd) fromFolder(a *term.App, w io.Writer, policy **receipt.TrustPolicy) (err error) {
	datadir.TuneMemoryTo(100, 96<<20) // as an import does
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	if d.Replica != nil {
		return fmt.Errorf("--data: %w; export from the log itself", ledger.ErrReplica)
	}
	policies, _, err := d.LoadPolicies()
	if err != nil {
		return err
	}
	var streams []*ledger.Stream
	for _, t := range d.Tenants {
		if len(c.Tenants) == 0 || slices.Contains(c.Tenants, t.Name) {
			streams = append(streams, t.Stream)
		}
	}
	if n := len(c.Tenants); n > 0 && len(streams) != n {
		return fmt.Errorf("--only-tenant: %s has no such tenant; see: muniment tenant list --data %s", c.Data, c.Data)
	}
	log := slog.New(slog.NewTextHandler(a.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	kind := d.LogStore()
	kind.Small = true
	store, mark, err := datadir.OpenStoreReadOnly(a.Ctx, c.Data, kind, log)
	if err != nil {
		return datadir.AdviseStart(err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var signer note.Signer
	if policies[0], signer, err = exportKey(d, mark.Checkpoint, policies[0]); err != nil {
		return err
	}
	if *policy == nil {
		*policy = policies[0]
	}
	cfg := ledger.Config{Store: store, Signer: signer, Quorum: witness.Quorum(policies), Logger: log}
	l, err := ledger.OpenReadOnly(a.Ctx, cfg, policies[0], mark.Checkpoint, errors.New("the log is open for reading only"))
	if err != nil {
		return err
	}
	defer l.Close()
	show, finish := a.ProgressFunc("export")
	defer finish()
	err = l.Export(a.Ctx, w, c.Since, streams, show)
	if errors.Is(err, ledger.ErrNothingNew) || errors.Is(err, ledger.ErrOutOfRange) {
		err = term.ExitWith(term.ExitNo, err)
	}
	return err
}

// exportKey returns the newest key that has signed the checkpoint, with its
// policy. Between a rotation and the restart of the server that is the old one.
func exportKey(d *datadir.Dir, signed []byte, newest *receipt.TrustPolicy) (*receipt.TrustPolicy, note.Signer, error) {
	for _, signer := range append([]note.Signer{d.Signer}, d.Overlap...) {
		policy := newest
		for i := range d.Keys {
			if signer != d.Signer && d.Keys[i].ID() == logkey.ID(signer) {
				var err error
				if policy, err = datadir.ReadPolicyFile(filepath.Join(d.Path, d.Keys[i].PolicyPath())); err != nil {
					return nil, nil, err
				}
			}
		}
		if _, err := note.Open(signed, note.VerifierList(policy.LogKey())); err == nil {
			return policy, signer, nil
		}
	}
	return nil, nil, errors.New("no key of the log that still signs has signed its newest checkpoint: start the server once")
}

type exported struct {
	File    string `json:"file"`
	Bytes   int64  `json:"bytes"`
	Checked bool   `json:"checked"`
	Origin  string `json:"origin,omitempty"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to,omitempty"`
	Digest  string `json:"digest,omitempty"` // SHA-256 of all before the signature
}

// check reads the file once more, if there is a policy to check it by.
func (c *exportCmd) check(f *os.File, policy *receipt.TrustPolicy) (*exported, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	o := &exported{File: c.Output, Bytes: info.Size(), From: c.Since}
	if policy == nil {
		return o, nil
	}
	d, err := delta.Check(f, info.Size(), policy.LogKey(), nil)
	if err != nil {
		return nil, err
	}
	r, err := d.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if _, _, err := policy.VerifyCheckpoint(r.Checkpoint); err != nil {
		return nil, err
	}
	if r.Header.From != c.Since {
		return nil, fmt.Errorf("the file begins at size %d, not at %d", r.Header.From, c.Since)
	}
	o.Checked, o.Origin, o.From, o.To, o.Digest = true, r.Header.Origin, r.Header.From, r.Header.To, d.Digest.String()
	return o, nil
}
