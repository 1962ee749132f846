// Package gitbranch proposes a changed file on a branch of a git repository.
//
// It works on a copy of the repository in a folder of its own, so it neither
// changes nor reads the user's working tree, index and configuration, apart
// from the address of a remote.
package gitbranch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
)

// Trailer is that of the commits that this package makes. Its value is the path
// of the file.
const Trailer = "Muniment-Baseline"

const remoteName = "origin"

// Locate returns the URL of a remote of the git repository that contains a
// file, and the file's path in it.
func Locate(file, remote string) (address, path string, err error) {
	if file, err = filepath.Abs(file); err != nil {
		return "", "", err
	}
	if file, err = filepath.EvalSymlinks(file); err != nil {
		return "", "", err
	}
	repo, err := git.PlainOpenWithOptions(filepath.Dir(file), &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if err != nil {
		return "", "", fmt.Errorf("%s is in no git repository that can be read (%w): specify --repository", file, err)
	}
	tree, err := repo.Worktree()
	if err != nil {
		return "", "", err
	}
	root, err := filepath.EvalSymlinks(tree.Filesystem.Root())
	if err != nil {
		return "", "", err
	}
	if path, err = filepath.Rel(root, file); err != nil {
		return "", "", err
	}
	r, err := repo.Remote(remote)
	if err != nil || len(r.Config().URLs) == 0 {
		return "", "", fmt.Errorf("the git repository has no remote %s: specify --remote or --repository", remote)
	}
	return r.Config().URLs[0], filepath.ToSlash(path), nil
}

// Options describe a proposal.
type Options struct {
	URL    string // of the repository, without credentials
	Token  string // for HTTP; "": none
	Base   string // branch; "": the repository's default branch
	Branch string // for the change
	Name   string // of the committer
	Email  string
	Now    time.Time
}

// A Clone is a temporary copy of a repository.
type Clone struct {
	Base string // branch

	o      *Options
	dir    string
	repo   *git.Repository
	remote *git.Remote
	base   *object.Commit // tip of the base branch
	tip    *object.Commit // of the branch; nil: there is none
}

// Open copies what a proposal needs from a repository. The caller must close
// the copy.
func Open(ctx context.Context, o *Options) (_ *Clone, err error) {
	dir, err := os.MkdirTemp("", "muniment-git-")
	if err != nil {
		return nil, err
	}
	c := &Clone{Base: o.Base, o: o, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(c.hide(err), c.Close())
		}
	}()
	if c.repo, err = git.PlainInit(dir, true); err != nil {
		return nil, err
	}
	if c.remote, err = c.repo.CreateRemote(&config.RemoteConfig{Name: remoteName, URLs: []string{o.URL}}); err != nil {
		return nil, fmt.Errorf("git remote: %w", err)
	}
	return c, c.fetch(ctx)
}

// Close removes the copy.
func (c *Clone) Close() error { return os.RemoveAll(c.dir) }

// auth returns the credentials. They are kept in no file.
func (c *Clone) auth() transport.AuthMethod {
	if c.o.Token == "" {
		return nil
	}
	return &http.BasicAuth{Username: "x-access-token", Password: c.o.Token}
}

// hide removes the token from an error, in case the server has repeated it, and
// adds a remedy to usual ones.
func (c *Clone) hide(err error) error {
	switch {
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed):
		return fmt.Errorf("git %s: %w: the token needs write access to the repository", c.o.URL, err)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return fmt.Errorf("git %s: %w, or the token has no access to it", c.o.URL, err)
	}
	if c.o.Token != "" && strings.Contains(err.Error(), c.o.Token) {
		return errors.New(strings.ReplaceAll(err.Error(), c.o.Token, "…"))
	}
	return err
}

func branchRef(name string) plumbing.ReferenceName { return plumbing.NewBranchReferenceName(name) }

// fetch reads both branches.
func (c *Clone) fetch(ctx context.Context) error {
	refs, err := c.remote.ListContext(ctx, &git.ListOptions{Auth: c.auth()})
	if err != nil {
		return err
	}
	exists := map[plumbing.ReferenceName]bool{}
	for _, r := range refs {
		exists[r.Name()] = true
		if r.Name() == plumbing.HEAD && c.Base == "" && r.Target().IsBranch() {
			c.Base = r.Target().Short()
		}
	}
	switch {
	case c.Base == "":
		return errors.New("the repository has no default branch: specify --base")
	case !exists[branchRef(c.Base)]:
		return fmt.Errorf("the repository has no branch %s: specify --base", c.Base)
	case c.Base == c.o.Branch:
		return fmt.Errorf("branch %s is the base branch: a change needs a branch of its own", c.Base)
	}
	names := []string{c.Base}
	if exists[branchRef(c.o.Branch)] {
		names = append(names, c.o.Branch)
	}
	var specs []config.RefSpec
	for _, name := range names {
		specs = append(specs, config.RefSpec(fmt.Sprintf("+%s:%s", branchRef(name), tracking(name))))
	}
	if err := c.remote.FetchContext(ctx, &git.FetchOptions{RemoteName: remoteName, RefSpecs: specs, Auth: c.auth(), Tags: git.NoTags}); err != nil {
		return fmt.Errorf("git fetch: %w", err)
	}
	if c.base, err = c.commit(c.Base); err == nil && len(names) > 1 {
		c.tip, err = c.commit(c.o.Branch)
	}
	return err
}

func tracking(name string) plumbing.ReferenceName {
	return plumbing.NewRemoteReferenceName(remoteName, name)
}

func (c *Clone) commit(name string) (*object.Commit, error) {
	ref, err := c.repo.Reference(tracking(name), true)
	if err != nil {
		return nil, fmt.Errorf("branch %s: %w", name, err)
	}
	return c.repo.CommitObject(ref.Hash())
}

// File reads a file of the base branch, up to a size.
func (c *Clone) File(path string, limit int64) ([]byte, error) { return read(c.base, path, limit) }

func read(at *object.Commit, path string, limit int64) ([]byte, error) {
	f, err := at.File(path)
	if err != nil {
		return nil, fmt.Errorf("%s in commit %s: %w", path, short(at.Hash), err)
	}
	if f.Size > limit {
		return nil, fmt.Errorf("%s in commit %s: %d bytes, above the limit of %d", path, short(at.Hash), f.Size, limit)
	}
	if !f.Mode.IsRegular() && f.Mode.IsFile() {
		return nil, fmt.Errorf("%s in commit %s is not a regular file", path, short(at.Hash))
	}
	r, err := f.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, limit))
}

func short(h plumbing.Hash) string { return h.String()[:12] }
