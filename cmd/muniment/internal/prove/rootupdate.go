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
	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/verifiers/sigstore"
)

type trustedRootUpdateCmd struct {
	Data    string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	Name    string `help:"Name of the trusted root." default:"public-good"`
	From    string `help:"File with the new trusted root." placeholder:"FILE" predictor:"file" xor:"source"`
	TUF     string `name:"tuf" help:"TUF repository to fetch the trusted root from. Its signatures are checked." placeholder:"URL" xor:"source"`
	TUFRoot string `name:"tuf-root" help:"With --tuf: the repository's root.json, from a trustworthy source. Required the first time, except for the Sigstore public-good instance." placeholder:"FILE" predictor:"file"`
	Target  string `help:"With --tuf: file name of the trusted root in the repository." default:"trusted_root.json"`
	Confirm bool   `help:"Keep the trusted root, and confirm that it is still current." xor:"source"`
	JSON    bool   `help:"Print one JSON object."`
}

func (trustedRootUpdateCmd) Help() string {
	return `Checks the new trusted root, replaces the one in the data folder atomically, and prints its content. A
running server uses it within seconds, or immediately after SIGHUP, and records it in each tenant's stream
before the next entry. The age of the root starts at zero, also if the root is unchanged.

Exit code: 0 in force; 1 not a trusted root, and nothing was changed; 2 no answer.

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
		return fmt.Errorf("no trusted root %s to confirm: specify one with --from or --tuf", c.Name)
	case c.Confirm:
		data = old
	default:
		return errors.New("no source specified: use --from FILE, --tuf URL or --confirm")
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

// tufDir is the subfolder of trusted-roots with the state of TUF repositories,
// by which a rollback of a repository is detected.
const tufDir = "tuf"

// fetch returns the trusted root of a TUF repository.
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
			return nil, errors.New("--tuf-root: required the first time: specify the repository's root.json")
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
