// Package interrupt makes a signal interrupt the opening and reading of files.
//
// Opening a named pipe blocks in a system call until another process opens its
// other end. Signals concern the whole process, so the program sets one context
// for the process. Use this package to open files named by users.
package interrupt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

var current atomic.Pointer[context.Context]

// Set makes the end of ctx interrupt the opening and reading of files, until
// reset is called.
func Set(ctx context.Context) (reset func()) {
	current.Store(&ctx)
	return func() { current.CompareAndSwap(&ctx, nil) }
}

func get() context.Context {
	if ctx := current.Load(); ctx != nil {
		return *ctx
	}
	return context.Background()
}

// Err returns the reason for the interrupt, or nil.
func Err() error { return get().Err() }

// Open opens a file for reading. An interrupt ends both opening a named pipe
// and reading from it.
func Open(path string) (*os.File, error) { return OpenFile(path, os.O_RDONLY, 0) }

// OpenRegular opens a file that is read more than once, and returns its size.
func OpenRegular(path string) (*os.File, int64, error) {
	f, err := Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file: it is read more than once, so copy it to disk first", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// Reader returns a reader that ends with a context.
func Reader(ctx context.Context, r io.Reader) io.Reader { return reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// OpenFile is Open with the flags and permissions of os.OpenFile.
func OpenFile(path string, flag int, perm fs.FileMode) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	ctx, opened := get(), make(chan result, 1)
	go func() {
		f, err := os.OpenFile(path, flag, perm)
		opened <- result{f, err}
	}()
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, r.err
		}
		// Files that never block do not support deadlines and need none.
		context.AfterFunc(ctx, func() { _ = r.f.SetDeadline(time.Unix(1, 0)) })
		return r.f, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("open %s: %w", path, ctx.Err())
	}
}
