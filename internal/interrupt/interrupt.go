// Package interrupt lets a signal end the opening and reading of files.
//
// Opening a named pipe blocks in a system call until somebody opens its other
// end. Signals are of the process, and so is what they end: the program sets
// one context, and files that users name are opened here.
package interrupt

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

var current atomic.Pointer[context.Context]

// Set makes the end of the context end the opening and reading of files, until
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

// Err returns why files are not read any more, or nil.
func Err() error { return get().Err() }

// Open opens a file for reading. Neither opening a named pipe nor reading from
// it outlasts an interrupt.
func Open(path string) (*os.File, error) { return OpenFile(path, os.O_RDONLY, 0) }

// OpenFile is Open for any use of the file.
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
		// Files that cannot be waited for have no deadlines, and need none.
		context.AfterFunc(ctx, func() { _ = r.f.SetDeadline(time.Unix(1, 0)) })
		return r.f, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("open %s: %w", path, ctx.Err())
	}
}
