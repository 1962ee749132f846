package evidence

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/receipt"
)

type exportCmd struct {
	remote.Flags
	Since   uint64   `help:"Log size to export from: the size of the replica, as 'muniment import' prints it, or 0 for the whole log." required:"" placeholder:"SIZE"`
	Output  string   `short:"o" help:"File to write." required:"" placeholder:"FILE.delta" type:"path"`
	Policy  string   `help:"Trust policy to check the file's signature and checkpoint against once it is written." env:"MUNIMENT_POLICY" predictor:"file"`
	Data    string   `help:"Export from this data folder instead of a server. The server must be stopped." type:"path" placeholder:"DIR"`
	Tenants []string `help:"With --data: export only this tenant's evidence. May be repeated. Default: all tenants." name:"only-tenant" placeholder:"NAME"`
	Attest  bool     `help:"Also write FILE.sigstore.json: an attestation of the file, signed with the log's gate key."`
	JSON    bool     `help:"Print JSON."`

	attestation []byte
}

func (exportCmd) Help() string {
	return `The file contains every leaf since that size, the tenant's evidence, the signed checkpoint and a
consistency proof. It is signed by the log (docs/spec/delta.md). Copy it to the other machine, and run
there: muniment import FILE --data DIR

Exit code: 0 written; 1 the log has not grown or has no gate key, or the file does not verify; 2 no answer.

Examples:
  muniment export --since 0 -o acme-0.delta --policy policy
  muniment export --since 4711 -o acme-4711.delta
  muniment export --since 4711 -o acme-4711.delta --attest
  muniment export --since 0 -o all.delta --data ./data`
}

func (c *exportCmd) Run(a *term.App) error {
	if len(c.Tenants) > 0 && c.Data == "" {
		return errors.New("--only-tenant requires --data: on a server, the token determines the tenant")
	}
	policy, _, err := datadir.OptionalPolicy(c.Policy, "")
	if err != nil {
		return err
	}
	outputs := []string{c.Output}
	if c.Attest {
		outputs = append(outputs, attestationOf(c.Output))
	}
	for _, path := range outputs {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("-o: %s exists and is not overwritten: choose another name", path)
		}
	}
	var o *exported
	err = a.CreateOutput(c.Output, func(f *os.File) error {
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
	if err == nil && c.Attest {
		err = c.writeAttestation(a, o)
	}
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
		fmt.Fprintln(a.Stdout, "  not checked: use --policy to verify that it is complete and signed by the log")
	}
	if o.Attestation != "" {
		fmt.Fprintf(a.Stdout, "  attested in %s\n", term.Quoted(o.Attestation))
	}
	return nil
}

// attestationOf returns the name of the attestation of a delta's file.
func attestationOf(file string) string { return file + ".sigstore.json" }

func (c *exportCmd) writeAttestation(a *term.App, o *exported) error {
	o.Attestation = attestationOf(c.Output)
	err := a.CreateOutput(o.Attestation, func(f *os.File) error {
		_, err := f.Write(c.attestation)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s is written, but not its attestation: %w", c.Output, err)
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
	if !c.Attest {
		return client.Export(a.Ctx, io.MultiWriter(w, bar), c.Since)
	}
	c.attestation, err = client.ExportAttested(a.Ctx, io.MultiWriter(w, bar), c.Since)
	return err
}

// fromFolder exports from a data folder. Without --policy, the folder's own is
// used.
func (c *exportCmd) fromFolder(a *term.App, w io.Writer, policy **receipt.TrustPolicy) (err error) {
	datadir.TuneMemoryTo(100, 96<<20) // as in importCmd
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	if d.Replica != nil {
		return fmt.Errorf("--data: %w: export from the log itself", ledger.ErrReplica)
	}
	if c.Attest && d.Gate == nil {
		return term.ExitWith(term.ExitNo, fmt.Errorf("--attest: %w: %s has no %s", attest.ErrNoKey, c.Data, datadir.GateKeyFile))
	}
	streams, err := c.streams(d)
	if err != nil {
		return err
	}
	l, err := d.OpenLedger(a.Ctx, a.StoreLogger(slog.LevelWarn))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if *policy == nil {
		*policy = l.Policy
	}
	show, finish := a.ProgressFunc("export")
	defer finish()
	sum := sha256.New()
	h, err := l.Export(a.Ctx, io.MultiWriter(w, sum), c.Since, streams, show)
	if err == nil && c.Attest {
		c.attestation, err = d.Gate.Delta(h, [sha256.Size]byte(sum.Sum(nil)), time.Now())
	}
	if errors.Is(err, ledger.ErrNothingNew) || errors.Is(err, ledger.ErrOutOfRange) {
		err = term.ExitWith(term.ExitNo, err)
	}
	return err
}

// streams returns the streams of the tenants to export.
func (c *exportCmd) streams(d *datadir.Dir) ([]*ledger.Stream, error) {
	known := map[string]bool{}
	var streams []*ledger.Stream
	for _, t := range d.Tenants {
		known[t.Name] = true
		if len(c.Tenants) == 0 || slices.Contains(c.Tenants, t.Name) {
			streams = append(streams, t.Stream)
		}
	}
	for _, name := range c.Tenants {
		if !known[name] {
			return nil, fmt.Errorf("--only-tenant: %s has no tenant %q: list them with 'muniment tenant list --data %s'", c.Data, name, c.Data)
		}
	}
	return streams, nil
}

type exported struct {
	File    string `json:"file"`
	Bytes   int64  `json:"bytes"`
	Checked bool   `json:"checked"`
	Origin  string `json:"origin,omitempty"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to,omitempty"`
	Digest  string `json:"digest,omitempty"` // SHA-256 of everything before the signature

	Attestation string `json:"attestation,omitempty"` // file
}

// check verifies the written file against the policy, if there is one.
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
		return nil, fmt.Errorf("the file starts at size %d, not at %d", r.Header.From, c.Since)
	}
	o.Checked, o.Origin, o.From, o.To, o.Digest = true, r.Header.Origin, r.Header.From, r.Header.To, d.Digest.String()
	return o, nil
}
