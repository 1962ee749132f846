package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/ledger/entry"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

// An archive writes the members of a bundle, and lists them.
type archive struct {
	w       *bundlefile.Writer
	whole   hash.Hash // of the file
	bytes   counter   // of the file
	members []bundlefile.Member
}

type counter struct{ n uint64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += uint64(len(b))
	return len(b), nil
}

func newArchive(w io.Writer) *archive {
	a := &archive{whole: sha256.New()}
	a.w = bundlefile.NewWriter(io.MultiWriter(w, a.whole, &a.bytes))
	return a
}

// add adds a small member. The manifest has no role, and does not list itself.
func (a *archive) add(name string, role bundlefile.Role, content []byte) error {
	return a.copy(context.Background(), name, role, bytes.NewReader(content), int64(len(content)))
}

// copy adds a member of a size.
func (a *archive) copy(ctx context.Context, name string, role bundlefile.Role, content io.Reader, size int64) error {
	if err := a.w.Next(name, size); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(a.w, sum), interrupt.Reader(ctx, content))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case n != size:
		return fmt.Errorf("%s: %d bytes, want %d", name, n, size)
	}
	if role != "" {
		a.members = append(a.members, bundlefile.Member{Name: name, Role: role, Size: size, SHA256: entry.Hash(sum.Sum(nil))})
	}
	return nil
}
