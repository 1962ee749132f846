package operate

import (
	"errors"
	"fmt"
	"strings"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/clients/go/mirror"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/ownfolder"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/receipt"
)

type mirrorCmd struct {
	Source      string        `arg:"" help:"URL of the log's server or of a copy, or a folder. /tlog/ is added to a URL without a path."`
	Data        string        `help:"Folder of the copy." required:"" type:"path" portable:""`
	Policy      string        `help:"Policy file, with the keys of the log and its witnesses." required:"" env:"MUNIMENT_POLICY" predictor:"file"`
	TokenFile   string        `help:"File with a token, if /tlog/ requires one." placeholder:"FILE" type:"path"`
	Listen      string        `help:"Serve the copy on this address, as C2SP tlog-tiles under /tlog/." placeholder:"HOST:PORT"`
	Interval    time.Duration `help:"Time between two updates." default:"10s"`
	Once        bool          `help:"Update once and exit."`
	LogFormat   string        `help:"text or json." enum:"text,json" default:"text"`
	CosignerKey string        `help:"Cosign each copied checkpoint with this Ed25519 note key, such as witness.key of 'muniment witness init'. Use the key for nothing else." placeholder:"FILE" predictor:"file"`
	JSON        bool          `help:"With --once: print JSON."`
}

func (mirrorCmd) Help() string {
	return `Every tile and entry is verified against the log's signed checkpoint before it is stored. After an interrupted update the folder is the previous or the new
copy. It can be audited as it is: muniment audit FOLDER.

Exit code of --once, or else of the first update: 0 up to date; 1 the source does not verify; 2 it could not be read; 3 an entry was changed; 4 the source
is shorter than the copy; 5 the log has forked. Later updates are retried, except that a fork ends the program with 5. The copy is then evidence.

Examples:
  muniment mirror https://ledger.example.com --data ./mirror --policy policy --once
  muniment mirror https://ledger.example.com --data ./mirror --policy policy --listen 127.0.0.1:7491`
}

func (c *mirrorCmd) Run(a *term.App) error {
	if c.Interval < time.Second {
		return errors.New("--interval: must be at least 1s")
	}
	if c.Once && c.Listen != "" {
		return errors.New("--once and --listen exclude each other: give one")
	}
	policies, err := datadir.LoadPolicies([]string{c.Policy})
	if err != nil {
		return err
	}
	policy := policies[0]
	if policy.PostQuantum() {
		return errors.New("--policy: give the policy with the log's Ed25519 key")
	}
	src, err := remote.OpenSource(c.Source, c.TokenFile)
	if err != nil {
		return err
	}
	o := mirror.Options{}
	if o.Cosigner, err = c.cosigner(); err != nil {
		return err
	}
	if err := ownfolder.CheckFolder(c.Data); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	if err := owner.MkdirAll(c.Data, 0o755); err != nil {
		return err
	}
	show, finish := a.ProgressFunc("mirror")
	o.Progress = show
	r, err := mirror.Update(a.Ctx, src, policy, c.Data, o)
	finish()
	if err != nil {
		c.printConflict(a, err)
		return term.ExitWith(mirrorCode(err), err)
	}
	if c.Once {
		if c.JSON || a.JSON {
			return term.WriteJSON(a.Stdout, struct {
				*mirror.Report
				Root string `json:"root"`
			}{r, r.Root.Base64()})
		}
		fmt.Fprintf(a.Stdout, "✓ COPIED  %s, %s (%d new), root %s\n", r.Origin, term.Count(r.Size, "entry"), r.Size-r.From, r.Root.Base64())
		return nil
	}
	return c.follow(a, src, policy, mirror.Options{Cosigner: o.Cosigner}, r)
}

func (c *mirrorCmd) cosigner() (note.Signer, error) {
	if c.CosignerKey == "" {
		return nil, nil
	}
	data, err := bounded.ReadSecret(c.CosignerKey)
	if err != nil {
		return nil, fmt.Errorf("--cosigner-key: %w", err)
	}
	s, err := fnote.NewSignerForCosignatureV1(strings.TrimSpace(string(data)))
	if err != nil {
		// the cause could show parts of the key
		return nil, fmt.Errorf("--cosigner-key: %s: not an Ed25519 note key", c.CosignerKey)
	}
	return s, nil
}

// follow updates and serves the copy until the context ends or the log forks.
func (c *mirrorCmd) follow(a *term.App, src audit.Source, policy *receipt.TrustPolicy, o mirror.Options, r *mirror.Report) error {
	log := a.ServiceLogger(c.LogFormat)
	log.Info("the copy is up to date", "origin", r.Origin, "size", r.Size)
	var failed chan error
	if c.Listen != "" {
		site := sites["mirror"]
		site.Handler, site.Errors = doors("mirror")("/", mirror.Handler(c.Data, policy.Origin())), HTTPErrors(log)
		l, err := edge.Listen(c.Listen, site)
		if err != nil {
			return err
		}
		a.Listening("mirror", "listening on", l.URL)
		failed = l.Failed
		defer l.Shutdown(shutdownTime)
	}
	tick := time.NewTicker(c.Interval)
	defer tick.Stop()
	for {
		select {
		case <-a.Ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("serve: %w", err)
		case <-tick.C:
		}
		r, err := mirror.Update(a.Ctx, src, policy, c.Data, o)
		switch {
		case a.Ctx.Err() != nil:
			return nil
		case errors.Is(err, audit.ErrForked):
			c.printConflict(a, err)
			return term.ExitWith(term.ExitForked, err)
		case err != nil:
			log.Error("the copy stays as it is", "err", term.Escape(plain.FileErrors(err)))
		case r.Size > r.From:
			log.Info("copied", "size", r.Size, "new", r.Size-r.From)
		}
	}
}

func (c *mirrorCmd) printConflict(a *term.App, err error) {
	var conflict *audit.Conflict
	switch {
	case !errors.As(err, &conflict):
	case c.JSON || a.JSON:
		_ = term.WriteJSON(a.Stdout, struct { // the output keeps the error
			Kept    string `json:"kept"`
			Offered string `json:"offered"`
		}{conflict.Kept, conflict.Offered})
	default:
		fmt.Fprintf(a.Stdout, "Evidence. The copy's checkpoint:\n\n%s\nOffered now:\n\n%s\n", term.Escape(conflict.Kept), term.Escape(conflict.Offered))
	}
}

func mirrorCode(err error) int {
	for _, x := range []struct {
		err  error
		code int
	}{
		{audit.ErrTruncated, term.ExitTruncated}, {audit.ErrForked, term.ExitForked}, {audit.ErrCheckpoint, term.ExitNo}, {audit.ErrMalformed, term.ExitNo}, {audit.ErrTileMismatch, term.ExitNo},
		{audit.ErrLeafMismatch, term.ExitLeaf}, {audit.ErrRootMismatch, term.ExitNo},
	} {
		if errors.Is(err, x.err) {
			return x.code
		}
	}
	return term.ExitFailed
}
