package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
)

type importCmd struct {
	File string `arg:"" help:"Delta file, written by 'muniment export'." predictor:"file"`
	Data string `help:"Data folder of the replica, created by 'muniment replica init'." required:"" type:"path" env:"MUNIMENT_DATA"`
	JSON bool   `help:"Print JSON."`

	RequireAttestation string `help:"Refuse the file unless its attestation is signed with this public key, in PEM, which is the log's gate.pub." placeholder:"KEY" predictor:"file"`
	Attestation        string `help:"With --require-attestation: the attestation, as 'muniment export --attest' writes it. Default: FILE.sigstore.json." placeholder:"FILE" predictor:"file"`
}

func (importCmd) Help() string {
	return `A running server of the replica imports the file, and serves the new state at once. The whole file is verified before anything is written: its
signature, that it extends this replica, every leaf, every piece of evidence, and that none is missing.
An interrupted import leaves the replica unchanged. Run the same command again to resume it. A delta that the replica has already is verified against it, and
changes nothing.

Exit code: 0 imported, or already imported; 1 refused (damaged, out of order, not verified, or not attested); 2 no answer; 5 the log has forked.

Examples:
  muniment import acme-0.delta --data ./replica
  muniment import acme-4711.delta --data ./replica --json
  muniment import acme-4711.delta --data ./replica --require-attestation gate.pub`
}

func (c *importCmd) Run(a *term.App) error {
	// leaves the rest of 256 MiB for what the store keeps outside Go's heap
	datadir.TuneMemoryTo(100, 96<<20)
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	if d.Replica == nil {
		return fmt.Errorf("--data: %s is the data folder of a log, not of a replica: create a replica with 'muniment replica init DIR'", c.Data)
	}
	f, size, err := interrupt.OpenRegular(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := c.checkAttestation(f, d.Replica.Origin()); err != nil {
		return c.outcome(a, nil, err)
	}
	show, finish := a.ProgressFunc("import")
	r, err := datadir.HandOver(a.Ctx, c.Data, f, show)
	if errors.Is(err, datadir.ErrNoServer) {
		r, err = c.into(a, d, f, size, show)
	}
	finish()
	return c.outcome(a, r, err)
}

// checkAttestation returns an error if the file's attestation is required and
// does not vouch for it. It needs no network.
func (c *importCmd) checkAttestation(f *os.File, origin string) error {
	if c.RequireAttestation == "" {
		if c.Attestation != "" {
			return errors.New("--attestation: requires --require-attestation")
		}
		return nil
	}
	key, err := datadir.ReadPublicKey(c.RequireAttestation)
	if err != nil {
		return fmt.Errorf("--require-attestation: %w", err)
	}
	path := cmp.Or(c.Attestation, attestationOf(c.File))
	attestation, err := bounded.ReadFile(path, attest.MaxDeltaAttestation)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: there is none: %w: carry it along with the delta, as 'muniment export --attest' writes it", attest.ErrAttestation, err)
	} else if err != nil {
		return fmt.Errorf("--attestation: %w", err)
	}
	if err := attest.VerifyDelta(attestation, key, f, origin); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// outcome prints the outcome of the import.
func (c *importCmd) outcome(a *term.App, r *ledger.ImportReport, err error) error {
	if c.JSON {
		return c.printJSON(a, r, err)
	}
	if err == nil {
		c.print(a, r)
		return nil
	}
	var fork *ledger.Fork
	if errors.As(err, &fork) {
		fmt.Fprintf(a.Stdout, "Conflicting checkpoints. This replica's:\n\n%s\nThe delta's:\n\n%s\n", term.Escape(string(fork.Kept)), term.Escape(string(fork.Offered)))
	}
	return term.ExitWith(importCode(err), err)
}

// into imports the file into the store, which no server has open.
func (c *importCmd) into(a *term.App, d *datadir.Dir, f io.ReaderAt, size int64, progress func(done, total uint64)) (r *ledger.ImportReport, err error) {
	store, err := datadir.OpenStore(a.Ctx, c.Data, d.ReplicaStore(), a.StoreLogger(slog.LevelWarn))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	o := d.Imports()
	o.Progress = progress
	if r, err = ledger.Import(a.Ctx, store, f, size, o); err != nil {
		return nil, err
	}
	return r, datadir.AnchorImport(c.Data)
}

func importCode(err error) int {
	switch {
	case errors.Is(err, ledger.ErrForked):
		return term.ExitForked
	case datadir.Refused(err), errors.Is(err, attest.ErrAttestation):
		return term.ExitNo
	}
	return term.ExitFailed
}

func (c *importCmd) print(a *term.App, r *ledger.ImportReport) {
	title := "IMPORTED"
	if r.Already {
		title = "ALREADY IMPORTED"
	}
	fmt.Fprintf(a.Stdout, "✓ %s  %s, from size %d to %d\n", title, r.Origin, r.From, r.To)
	fmt.Fprintf(a.Stdout, "  root %s, signed by the log\n", r.Root.Base64())
	fmt.Fprintf(a.Stdout, "  %s, %d with evidence (%s) of %s\n", term.Count(r.To-r.From, "entry"), r.Records, term.Count(r.PayloadBytes, "byte"), term.Count(r.Streams, "tenant"))
	if r.Resumed > 0 {
		fmt.Fprintf(a.Stdout, "  %s already written by an interrupted import\n", term.Count(r.Resumed, "entry"))
	}
	if !r.Already {
		fmt.Fprintf(a.Stdout, "  next: muniment export --since %d\n", r.To)
	}
}

func (c *importCmd) printJSON(a *term.App, r *ledger.ImportReport, err error) error {
	o := struct {
		Imported bool                 `json:"imported"`
		Error    string               `json:"error,omitempty"`
		Exit     int                  `json:"exitCode"`
		Report   *ledger.ImportReport `json:"report,omitempty"`
		// the two checkpoints of a fork
		Kept    string `json:"keptCheckpoint,omitempty"`
		Offered string `json:"offeredCheckpoint,omitempty"`
	}{Imported: err == nil, Report: r}
	if err != nil {
		o.Error, o.Exit = plain.FileErrors(err), importCode(err)
	}
	var fork *ledger.Fork
	if errors.As(err, &fork) {
		o.Kept, o.Offered = string(fork.Kept), string(fork.Offered)
	}
	if werr := term.WriteJSON(a.Stdout, o); werr != nil || err == nil {
		return werr
	}
	return term.ExitWith(o.Exit, nil)
}
