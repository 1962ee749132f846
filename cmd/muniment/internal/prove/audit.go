package prove

import (
	"errors"
	"fmt"
	"io/fs"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/ownfolder"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
)

type auditCmd struct {
	URL        string  `arg:"" help:"Log to audit: the URL of the server or of a copy (an empty path becomes /tlog/), or a folder with a copy of /tlog/."`
	TokenFile  string  `help:"Token file, if the operator has closed /tlog/ to the public." placeholder:"FILE" type:"path"`
	Policy     string  `help:"Trust policy: the keys of the log and its witnesses." required:"" env:"MUNIMENT_POLICY" predictor:"file"`
	State      string  `help:"File that records what was audited, so that the next run reads only what is new and detects a fork. Default: none, and every run reads the whole log." type:"path" predictor:"file"`
	StreamKey  string  `help:"Also prove this tenant's stream complete." env:"MUNIMENT_STREAM_KEY" predictor:"file"`
	ExpectNext *uint64 `help:"With --stream-key: the stream must have at least this many entries." placeholder:"N"`
	JSON       bool    `help:"Print JSON."`
}

func (auditCmd) Help() string {
	return `Reads every entry and tile not audited before, and checks each leaf hash, each tile, the root, and that
the log extends the one recorded in the state file.

Exit code: 0 sound; 1 not verified; 2 no answer; 3 an entry was changed; 4 the log was truncated;
5 the log has forked; 6 the stream is not complete.

Examples:
  muniment audit https://ledger.example.com --policy policy --state audit.json
  muniment audit http://127.0.0.1:7480 --policy policy --stream-key acme.key`
}

func (c *auditCmd) Run(a *term.App) error {
	policy, key, err := datadir.OptionalPolicy(c.Policy, c.StreamKey)
	if err != nil {
		return err
	}
	if c.ExpectNext != nil && key == nil {
		return errors.New("--expect-next requires --stream-key")
	}
	src, err := remote.OpenSource(c.URL, c.TokenFile)
	if err != nil {
		return err
	}
	var prev *audit.State
	if c.State != "" {
		if err := ownfolder.CheckFile(c.State); err != nil {
			return fmt.Errorf("--state: %w", err)
		}
		if prev, err = audit.LoadState(c.State); errors.Is(err, fs.ErrNotExist) {
			prev, err = nil, nil
		}
		if err != nil {
			return err
		}
	}
	show, finish := a.ProgressFunc("audit")
	report, next, err := audit.Run(a.Ctx, src, policy, prev, audit.Options{StreamKey: key, ExpectNext: c.ExpectNext, Progress: show})
	finish()
	// The log is sound even if the stream is incomplete, so the next run need
	// not read it again.
	if next != nil && c.State != "" && (err == nil || errors.Is(err, audit.ErrStream)) {
		if serr := next.Save(c.State); serr != nil {
			return fmt.Errorf("--state: %w", serr)
		}
	}
	if c.JSON {
		if jerr := c.printJSON(a, report, err); jerr != nil {
			return jerr
		}
		if err != nil {
			return term.ExitWith(auditCode(err), nil)
		}
		return nil
	}
	if report != nil {
		c.print(a, report, err)
	}
	var conflict *audit.Conflict
	if errors.As(err, &conflict) {
		fmt.Fprintf(a.Stdout, "Conflicting checkpoints. Seen before:\n\n%s\nOffered now:\n\n%s\n", term.Escape(conflict.Kept), term.Escape(conflict.Offered))
	}
	if err != nil {
		return term.ExitWith(auditCode(err), err)
	}
	return nil
}

func auditCode(err error) int {
	for _, x := range []struct {
		err  error
		code int
	}{
		{audit.ErrLeafMismatch, term.ExitLeaf}, {audit.ErrTruncated, term.ExitTruncated}, {audit.ErrForked, term.ExitForked}, {audit.ErrStream, term.ExitStream},
		{audit.ErrUnavailable, term.ExitFailed}, {audit.ErrState, term.ExitFailed},
	} {
		if errors.Is(err, x.err) {
			return x.code
		}
	}
	return term.ExitNo
}

func (c *auditCmd) print(a *term.App, r *audit.Report, err error) {
	mark := "✓ SOUND"
	if err != nil {
		mark = "✗ NOT COMPLETE"
	}
	fmt.Fprintf(a.Stdout, "%s  %s, %s (%d new)\n", mark, r.Origin, term.Count(r.Size, "entry"), r.Size-r.From)
	fmt.Fprintf(a.Stdout, "  every leaf and tile matches the root %s\n", r.Root.Base64())
	switch {
	case r.From > 0:
		fmt.Fprintf(a.Stdout, "  it extends the %s audited before\n", term.Count(r.From, "entry"))
	case c.State == "":
		fmt.Fprintf(a.Stdout, "  use --state FILE to detect a fork or rollback on the next run\n")
	}
	switch s := r.Stream; {
	case s == nil || !s.Complete():
	case s.Next == 0:
		fmt.Fprintf(a.Stdout, "  the stream %s is complete: it has no entries\n", s.ID)
	default:
		fmt.Fprintf(a.Stdout, "  the stream %s is complete: %s, each once and in order, and no others\n", s.ID, term.Count(s.Next, "entry"))
	}
	if r.Witnessed {
		fmt.Fprintln(a.Stdout, "  cosigned by the witnesses that the policy requires")
	} else {
		fmt.Fprintln(a.Stdout, "  not witnessed: the policy requires no witnesses, so the log could show others a different history")
	}
}

func (c *auditCmd) printJSON(a *term.App, r *audit.Report, err error) error {
	o := struct {
		Sound  bool          `json:"sound"`
		Error  string        `json:"error,omitempty"`
		Exit   int           `json:"exitCode"`
		Report *audit.Report `json:"report,omitempty"`
		// the two checkpoints of a fork or truncation
		Kept    string `json:"keptCheckpoint,omitempty"`
		Offered string `json:"offeredCheckpoint,omitempty"`
	}{Sound: err == nil, Report: r}
	if err != nil {
		o.Error, o.Exit = plain.FileErrors(err), auditCode(err)
	}
	var conflict *audit.Conflict
	if errors.As(err, &conflict) {
		o.Kept, o.Offered = conflict.Kept, conflict.Offered
	}
	return term.WriteJSON(a.Stdout, o)
}
