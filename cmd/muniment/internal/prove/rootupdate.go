package prove

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore-go/pkg/tuf"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/verifiers/sigstore"
)

type trustedRootUpdateCmd struct {
	Data    string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	Name    string `help:"Which trusted root." default:"public-good"`
	From    string `help:"Take it from this file." placeholder:"FILE" predictor:"file" xor:"source"`
	TUF     string `name:"tuf" help:"Take it from this TUF repository, whose signatures are checked." placeholder:"URL" xor:"source"`
	TUFRoot string `name:"tuf-root" help:"With --tuf: the repository's root.json, got in a trustworthy way. Needed the first time, but not for the Sigstore public-good instance." placeholder:"FILE" predictor:"file"`
	Target  string `help:"With --tuf: name of the file in the repository." default:"trusted_root.json"`
	Confirm bool   `help:"Change nothing, and confirm that the root is still right." xor:"source"`
	JSON    bool   `help:"Print one JSON object."`
}

func (trustedRootUpdateCmd) Help() string {
	return `Checks the new trusted root, puts it into the data folder as a whole or not at all, and shows what it trusts. A running server takes it over within
seconds, at once on SIGHUP, and records it in each tenant's stream before the next entry. Its age counts from then; with the same root again it is
confirmed, and its age starts anew.

Exit code: 0 in force; 1 it is no trusted root, and nothing was changed; 2 it could not be read or written.

Examples:
  muniment trusted-root update --data ./data --tuf https://tuf-repo-cdn.sigstore.dev
  muniment trusted-root update --data ./data --name ours --from trusted-root.json
  muniment trusted-root update --data ./data --name ours --confirm`
}

func (c *trustedRootUpdateCmd) Run(a *term.App) error {
	if err := policy.CheckRootName(c.Name); err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	path := d.RootPath(c.Name)
	old, err := bounded.ReadFile(path, bounded.Document)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var data []byte
	switch {
	case c.From != "":
		data, err = bounded.ReadFile(c.From, sigstore.MaxTrustedRootSize)
	case c.TUF != "":
		data, err = c.fetch(a)
	case c.Confirm && old == nil:
		return fmt.Errorf("there is no trusted root %s to confirm; give one with --from or --tuf", c.Name)
	case c.Confirm:
		data = old
	default:
		return errors.New("give --from FILE, --tuf URL or --confirm")
	}
	if err != nil {
		return err
	}
	r, err := sigstore.ParseTrustedRoot(data)
	if err != nil {
		return term.ExitWith(term.ExitNo, fmt.Errorf("nothing was changed: %w", err))
	}
	if err := owner.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := datadir.ReplaceOwned(path, data); err != nil {
		return err
	}
	if err := owner.MkdirAll(filepath.Dir(d.ConfirmedPath(c.Name)), 0o700); err != nil {
		return err
	}
	if err := datadir.ReplaceOwned(d.ConfirmedPath(c.Name), []byte(time.Now().UTC().Format(time.RFC3339Nano)+"\n")); err != nil {
		return err
	}
	if c.JSON {
		return term.WriteJSON(a.Stdout, struct {
			Name    string `json:"name"`
			Digest  string `json:"digest"`
			File    string `json:"file"`
			Changed bool   `json:"changed"`
		}{c.Name, r.Digest(), path, !bytes.Equal(old, data)})
	}
	what := "in force from now on"
	switch {
	case old == nil:
	case bytes.Equal(old, data):
		what = "unchanged, and confirmed"
	default:
		what = "replaced"
	}
	_, err = fmt.Fprintf(a.Stdout, "trusted root %s: %s\n%s", c.Name, what, trustedRootsText(path, r, time.Now()))
	return err
}

// tufDir is where, below trusted-roots, the state of TUF repositories is kept:
// with it, an older state than was seen before is refused.
const tufDir = "tuf"

// fetch gets the trusted root from a TUF repository.
func (c *trustedRootUpdateCmd) fetch(a *term.App) ([]byte, error) {
	u, err := url.Parse(c.TUF)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("--tuf: %q is not an http or https URL", c.TUF)
	}
	opts := &tuf.Options{RepositoryBaseURL: c.TUF, CachePath: filepath.Join(c.Data, datadir.RootsDir, tufDir), Context: a.Ctx}
	cached := filepath.Join(opts.CachePath, tuf.URLToPath(c.TUF), "root.json")
	switch {
	case c.TUFRoot != "":
		opts.Root, err = bounded.ReadFile(c.TUFRoot, sigstore.MaxTrustedRootSize)
	case c.TUF == tuf.DefaultMirror:
		opts.Root = tuf.DefaultRoot()
	default:
		if opts.Root, err = bounded.ReadFile(cached, bounded.Document); errors.Is(err, os.ErrNotExist) {
			return nil, errors.New("--tuf-root: give the repository's root.json the first time")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("--tuf-root: %w", err)
	}
	client, err := tuf.New(opts)
	if err != nil {
		return nil, fmt.Errorf("--tuf: %w", err)
	}
	data, err := client.GetTarget(c.Target)
	if err != nil {
		return nil, fmt.Errorf("--tuf: %w", err)
	}
	return data, nil
}
