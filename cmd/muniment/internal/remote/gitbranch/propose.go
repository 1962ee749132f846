package gitbranch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// What is done with the branch.
const (
	Created   = "created"
	Replaced  = "replaced"  // its only commits were of this package
	Added     = "added"     // to commits by others
	Unchanged = "unchanged" // it has the change already
)

// A Result is what Propose has done.
type Result struct {
	Branch string `json:"branch"`
	Commit string `json:"commit"` // tip of the branch
	Action string `json:"action"` // created, replaced, added or unchanged
}

// maxCommits is the number of commits on a branch that are examined. With more,
// the branch counts as that of others.
const maxCommits = 64

// Propose pushes the branch with a commit in which one file is changed. change
// returns the new text of a file for that of the base branch, or of the branch
// if it has commits by others.
//
// Commits by others are never replaced. Nor is a commit that was pushed since
// the copy was made: the server compares the branch with what was copied.
func (c *Clone) Propose(ctx context.Context, path, message string, limit int64, change func([]byte) ([]byte, error)) (*Result, error) {
	parent, action := c.base, Created
	if c.tip != nil {
		own, err := c.isOwn(path)
		if err != nil {
			return nil, err
		}
		if action = Replaced; !own {
			parent, action = c.tip, Added
		}
	}
	text, err := read(parent, path, limit)
	if err != nil {
		return nil, err
	}
	want, err := change(text)
	if err != nil {
		return nil, err
	}
	r := &Result{Branch: c.o.Branch, Action: Unchanged}
	if c.tip != nil {
		have, err := read(c.tip, path, limit)
		if err == nil && bytes.Equal(have, want) {
			r.Commit = c.tip.Hash.String()
			return r, nil
		}
	}
	if bytes.Equal(text, want) {
		return nil, errors.New("the base branch has the change already")
	}
	hash, err := c.write(parent, path, want, message)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	r.Commit, r.Action = hash.String(), action
	return r, c.push(ctx, hash, action)
}

// isOwn reports whether all commits of the branch since the base branch are
// those of this package for the file.
func (c *Clone) isOwn(path string) (bool, error) {
	common, err := c.tip.MergeBase(c.base)
	if err != nil {
		return false, fmt.Errorf("compare branches: %w", err)
	}
	at := c.tip
	for range maxCommits {
		if slices.ContainsFunc(common, func(m *object.Commit) bool { return m.Hash == at.Hash }) {
			return true, nil
		}
		if at.NumParents() != 1 {
			return false, nil
		}
		parent, err := at.Parent(0)
		if err != nil {
			return false, fmt.Errorf("commit %s: %w", short(at.Hash), err)
		}
		if own, err := c.isOwnCommit(at, parent, path); err != nil || !own {
			return false, err
		}
		at = parent
	}
	return false, nil
}

// isOwnCommit reports whether a commit has the committer and the trailer of
// this package, and changes the file only.
func (c *Clone) isOwnCommit(at, parent *object.Commit, path string) (bool, error) {
	lines := strings.Split(strings.TrimSpace(at.Message), "\n")
	if at.Committer.Name != c.o.Name || at.Committer.Email != c.o.Email || lines[len(lines)-1] != trailer(path) {
		return false, nil
	}
	f, err := at.File(path)
	if errors.Is(err, object.ErrFileNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	tree, err := parent.Tree()
	if err != nil {
		return false, err
	}
	only, err := c.replace(tree, strings.Split(path, "/"), f.Hash)
	return err == nil && only == at.TreeHash, nil
}

func trailer(path string) string { return Trailer + ": " + path }

// write stores a commit in which the file has another text.
func (c *Clone) write(parent *object.Commit, path string, text []byte, message string) (plumbing.Hash, error) {
	blob := c.repo.Storer.NewEncodedObject()
	blob.SetType(plumbing.BlobObject)
	w, err := blob.Writer()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if _, err := w.Write(text); err != nil {
		return plumbing.ZeroHash, err
	}
	if err := w.Close(); err != nil {
		return plumbing.ZeroHash, err
	}
	hash, err := c.repo.Storer.SetEncodedObject(blob)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	tree, err := parent.Tree()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	root, err := c.replace(tree, strings.Split(path, "/"), hash)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	who := object.Signature{Name: c.o.Name, Email: c.o.Email, When: c.o.Now}
	return c.store(&object.Commit{
		Author: who, Committer: who, Message: message + "\n\n" + trailer(path) + "\n", TreeHash: root, ParentHashes: []plumbing.Hash{parent.Hash},
	})
}

// replace stores the tree in which the file has another blob.
func (c *Clone) replace(tree *object.Tree, path []string, blob plumbing.Hash) (plumbing.Hash, error) {
	out := &object.Tree{Entries: slices.Clone(tree.Entries)}
	i := slices.IndexFunc(out.Entries, func(e object.TreeEntry) bool { return e.Name == path[0] })
	if i < 0 {
		return plumbing.ZeroHash, object.ErrEntryNotFound
	}
	e := &out.Entries[i]
	switch {
	case len(path) > 1:
		below, err := c.repo.TreeObject(e.Hash)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		if e.Hash, err = c.replace(below, path[1:], blob); err != nil {
			return plumbing.ZeroHash, err
		}
	case e.Mode != filemode.Regular && e.Mode != filemode.Executable:
		return plumbing.ZeroHash, fmt.Errorf("%s is not a regular file", path[0])
	default:
		e.Hash = blob
	}
	return c.store(out)
}

// store stores an object.
func (c *Clone) store(o interface {
	Encode(plumbing.EncodedObject) error
}) (plumbing.Hash, error) {
	encoded := c.repo.Storer.NewEncodedObject()
	if err := o.Encode(encoded); err != nil {
		return plumbing.ZeroHash, err
	}
	return c.repo.Storer.SetEncodedObject(encoded)
}

// push pushes the commit. Only a branch without commits by others is replaced,
// and only at the commit that was copied.
func (c *Clone) push(ctx context.Context, hash plumbing.Hash, action string) error {
	name := branchRef(c.o.Branch)
	if err := c.repo.Storer.SetReference(plumbing.NewHashReference(name, hash)); err != nil {
		return err
	}
	o := &git.PushOptions{RemoteName: remoteName, RefSpecs: []config.RefSpec{config.RefSpec(name + ":" + name)}, Auth: c.auth()}
	if action == Replaced {
		o.RefSpecs = []config.RefSpec{config.RefSpec("+" + name + ":" + name)}
		o.ForceWithLease = &git.ForceWithLease{RefName: name, Hash: c.tip.Hash}
	}
	if err := c.remote.PushContext(ctx, o); err != nil && !errors.Is(err, git.NoErrAlreadyUpToDate) {
		return fmt.Errorf("git push: %w", c.hide(err))
	}
	return nil
}
