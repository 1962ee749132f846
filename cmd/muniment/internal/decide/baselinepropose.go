package decide

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"strings"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/cmd/muniment/internal/remote/forge"
	"muniment.dev/muniment/cmd/muniment/internal/remote/gitbranch"
	"muniment.dev/muniment/controls/baseline"
	"muniment.dev/muniment/internal/term"
)

// proposalFlags specify where a change is proposed.
type proposalFlags struct {
	Forge          string `help:"With --fix: kind of the forge. Default: github for github.com." enum:",gitea,github" default:"" placeholder:"gitea|github" env:"MUNIMENT_FORGE"`
	ForgeURL       string `name:"forge-url" help:"With --fix: URL of the forge. Default: that of the git remote." placeholder:"URL" env:"MUNIMENT_FORGE_URL"`
	ForgeTokenFile string `help:"With --fix: file with the token of the forge. The token itself can be given in MUNIMENT_FORGE_TOKEN." placeholder:"FILE" env:"MUNIMENT_FORGE_TOKEN_FILE" predictor:"file"`
	ForgePlainHTTP bool   `name:"forge-plain-http" help:"With --fix: use a forge without TLS, which reveals the token to the network. Not needed for a forge on this machine."`
	Remote         string `help:"With --fix: git remote of the repository that contains the file." default:"origin" placeholder:"NAME"`
	Repository     string `help:"With --fix: URL of the repository, instead of that of the remote. The file has the same path there." placeholder:"URL"`
	Base           string `help:"With --fix: branch to change. Default: the repository's default branch." placeholder:"BRANCH"`
	Branch         string `help:"With --fix: branch for the change." default:"muniment/baselines" placeholder:"BRANCH"`
	Committer      string `help:"With --fix: name and e-mail address of the committer." default:"Muniment <muniment@localhost>" placeholder:"NAME <ADDRESS>"`
}

// A proposal is what was proposed. It is part of the output with --json.
type proposal struct {
	*gitbranch.Result
	Request *forge.Request `json:"request"`
}

func (p *proposal) text(b *strings.Builder) {
	if p == nil {
		return
	}
	fmt.Fprintf(b, "branch %s %s, at %s\n", term.Quoted(p.Branch), p.Action, p.Commit)
	if p.Request != nil {
		fmt.Fprintf(b, "change request %d %s: %s\n", p.Request.Number, p.Request.Action, term.Quoted(p.Request.URL))
	}
}

// A proposer proposes changes of a file.
type proposer struct {
	address *forge.Address
	forge   forge.Forge
	options *gitbranch.Options
	path    string // of the file in the repository
}

// proposer reads the flags.
func (f *proposalFlags) proposer(file string) (*proposer, error) {
	p := &proposer{}
	url, err := f.Repository, error(nil)
	if url == "" {
		if url, p.path, err = gitbranch.Locate(file, f.Remote); err != nil {
			return nil, err
		}
	} else if p.path = strings.TrimPrefix(file, "./"); strings.HasPrefix(p.path, "/") || strings.HasPrefix(p.path, "..") {
		return nil, errors.New("--repository: the file must be named by its path in the repository")
	}
	if p.address, err = forge.ParseAddress(url, f.ForgeURL); err != nil {
		return nil, err
	}
	if p.address.Base, err = forge.CheckURL(p.address.Base, f.ForgePlainHTTP); err != nil {
		return nil, fmt.Errorf("--forge-url: %w", err)
	}
	kind := f.Forge
	if kind == "" {
		kind = p.address.Kind()
	}
	if kind == "" {
		return nil, errors.New("no kind of forge specified: use --forge gitea or --forge github")
	}
	token, err := f.token()
	if err != nil {
		return nil, err
	}
	if p.forge, err = forge.New(kind, p.address.Base, token, f.ForgePlainHTTP); err != nil {
		return nil, err
	}
	who, err := mail.ParseAddress(f.Committer)
	if err != nil || who.Name == "" {
		return nil, errors.New("--committer: must be such as Muniment <muniment@acme.example>")
	}
	p.options = &gitbranch.Options{URL: p.address.Clone(), Token: token, Base: f.Base, Branch: f.Branch, Name: who.Name, Email: who.Address, Now: time.Now().UTC().Truncate(time.Second)}
	return p, nil
}

// token returns the token of the forge.
func (f *proposalFlags) token() (string, error) {
	const name = "MUNIMENT_FORGE_TOKEN"
	if f.ForgeTokenFile == "" {
		token := strings.TrimSpace(os.Getenv(name))
		if token == "" {
			return "", errors.New("no token of the forge: use --forge-token-file, or set " + name)
		}
		if strings.ContainsAny(token, " \t\r\n") {
			return "", errors.New(name + ": not a token: it contains white space")
		}
		return token, nil
	}
	token, err := remote.ReadBearer(f.ForgeTokenFile)
	if err != nil {
		return "", fmt.Errorf("--forge-token-file: %w", err)
	}
	return token, nil
}

// propose pushes the change and opens or updates its change request.
func (p *proposer) propose(ctx context.Context, f *baseline.File, results []*baseline.Result, digests map[string]string) (_ *proposal, err error) {
	clone, err := gitbranch.Open(ctx, p.options)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, clone.Close()) }()
	text, err := clone.File(p.path, baseline.MaxSize)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(text, f.Text()) {
		return nil, fmt.Errorf("%s differs from that of branch %s: update the working tree, or push its changes first", p.path, clone.Base)
	}
	title, lines := describe(results, digests)
	out := &proposal{}
	message := title + "\n\n" + strings.Join(lines, "\n")
	out.Result, err = clone.Propose(ctx, p.path, message, baseline.MaxSize, func(text []byte) ([]byte, error) {
		return updated(text, digests)
	})
	if err != nil {
		return nil, err
	}
	change := &forge.Change{Owner: p.address.Owner, Repo: p.address.Repo, Base: clone.Base, Branch: p.options.Branch, Title: title, Text: body(results, digests)}
	out.Request, err = p.forge.Propose(ctx, change)
	return out, err
}

// updated returns the text of a baseline with other digests. On a branch with
// commits by others, some of the images can be gone.
func updated(text []byte, digests map[string]string) ([]byte, error) {
	f, err := baseline.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the file on the branch is invalid: %w", err)
	}
	there := map[string]string{}
	for _, i := range f.Images {
		if to, ok := digests[i.Reference]; ok {
			there[i.Reference] = to
		}
	}
	return f.Update(there)
}

// describe returns the title of a change and a line for each image. They depend
// only on the change, so that repeating it changes nothing.
func describe(results []*baseline.Result, digests map[string]string) (title string, lines []string) {
	for _, r := range results {
		if to, ok := digests[r.Image]; ok {
			lines = append(lines, fmt.Sprintf("%s: %s -> %s", r.Image, r.Digest, to))
		}
	}
	return "Update " + term.Count(len(lines), "base image"), lines
}

// body returns the text of a change request.
func body(results []*baseline.Result, digests map[string]string) string {
	var b strings.Builder
	b.WriteString("The tags of these base images have new digests, whose evidence is in the ledger.\n\n| image | from | to |\n|---|---|---|\n")
	for _, r := range results {
		if to, ok := digests[r.Image]; ok {
			fmt.Fprintf(&b, "| `%s` | `%s` | `%s` |\n", r.Image, r.Digest, to)
		}
	}
	return b.String()
}
