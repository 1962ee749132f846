package prove

import (
	"errors"
	"fmt"
	"io/fs"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/cmd/muniment/internal/term"
)

type auditCmd struct {
	URL        string  `arg:"" help:"The log: the server's URL, or that of any copy; /tlog/ is added where the path is empty. Or a folder with a copy of what is under /tlog/."`
	TokenFile  string  `help:"Token, where the operator has closed /tlog/." placeholder:"FILE" type:"path"`
	Policy     string  `help:"Policy file: the keys of the log and its witnesses." required:"" env:"MUNIMENT_POLICY" predictor:"file"`
	State      string  `help:"File that keeps what was audited, so that the next run needs only what is new and notices a fork. Without it every run starts anew." type:"path" predictor:"file"`
	StreamKey  string  `help:"Prove this tenant's stream complete, too." env:"MUNIMENT_STREAM_KEY" predictor:"file"`
	ExpectNext *uint64 `help:"With --stream-key: the stream must have at least this many entries, as a receipt shows that is known from elsewhere." placeholder:"N"`
	JSON       bool    `help:"Print JSON."`
}

func (auditCmd) Help() string {
	return `Reads every entry and tile that was not read before, and checks each leaf hash, every tile, the root, and that the log continues the one of the state file.

Exit code: 0 sound; 3 an entry was changed; 4 the log was truncated; 5 the log was forked; 6 the stream is not complete;
1 it does not verify in another way; 2 it could not be read.

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
		return errors.New("--expect-next needs --stream-key")
	}
	src, err := remote.OpenSource(c.URL, c.TokenFile)
	if err != nil {
		return err
	}
	var prev *audit.State
	if c.State != "" {
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
	// An incomplete stream is no reason to read the log again: the state says
	// how far it is sound.
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
		fmt.Fprintf(a.Stdout, "The evidence. Kept from before:\n\n%s\nOffered now:\n\n%s\n", term.Escape(conflict.Kept), term.Escape(conflict.Offered))
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
	fmt.Fprintf(a.Stdout, "%s  %s, %s (%d read now)\n", mark, r.Origin, term.Count(r.Size, "entry"), r.Size-r.From)
	fmt.Fprintf(a.Stdout, "  every leaf, tile and the root %s check out\n", r.Root.Base64())
	switch {
	case r.From > 0:
		fmt.Fprintf(a.Stdout, "  it continues the log of %s that was audited before\n", term.Count(r.From, "entry"))
	case c.State == "":
		fmt.Fprintf(a.Stdout, "  keep a state with --state FILE to notice a fork or rollback the next time\n")
	}
	if s := r.Stream; s != nil && s.Complete() {
		fmt.Fprintf(a.Stdout, "  the stream %s is complete: entries 0 to %d are each there once and in order, and no other\n", s.ID, int64(s.Next)-1)
	}
	if r.Witnessed {
		fmt.Fprintln(a.Stdout, "  cosigned by the witnesses that the policy asks for")
	} else {
		fmt.Fprintln(a.Stdout, "  not witnessed: the policy asks for none, so the log could show others another history")
	}
}

func (c *auditCmd) printJSON(a *term.App, r *audit.Report, err error) error {
	o := struct {
		Sound  bool          `json:"sound"`
		Error  string        `json:"error,omitempty"`
		Exit   int           `json:"exitCode"`
		Report *audit.Report `json:"report,omitempty"`
		// with the next, evidence of a fork or truncation
		Kept    string `json:"keptCheckpoint,omitempty"`
		Offered string `json:"offeredCheckpoint,omitempty"`
	}{Sound: err == nil, Report: r}
	if err != nil {
		o.Error, o.Exit = err.Error(), auditCode(err)
	}
	var conflict *audit.Conflict
	if errors.As(err, &conflict) {
		o.Kept, o.Offered = conflict.Kept, conflict.Offered
	}
	return term.WriteJSON(a.Stdout, o)
}
