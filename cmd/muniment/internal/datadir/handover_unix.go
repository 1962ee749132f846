//go:build unix

package datadir

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger"
)

// maxSocketPath is the longest path of a socket on every system.
const maxSocketPath = 100

// socketPath returns the path of the folder's socket. A path that is too long
// for sockets goes through a descriptor of the folder, which done closes.
func socketPath(folder string) (path string, done func(), err error) {
	if path = filepath.Join(folder, importSocket); len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(folder)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), importSocket), func() { dir.Close() }, nil
}

// HandOver has the server that owns the replica's folder import the file. Its
// progress is that of ledger.ImportOptions. It returns ErrNoServer without one.
func HandOver(ctx context.Context, folder string, file *os.File, progress func(done, total uint64)) (*ledger.ImportReport, error) {
	path, done, err := socketPath(folder)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNoServer
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if _, _, err := c.(*net.UnixConn).WriteMsgUnix([]byte{0}, syscall.UnixRights(int(file.Fd())), nil); err != nil {
		return nil, fmt.Errorf("hand the file over to the server: %w", err)
	}
	answers, read, total := json.NewDecoder(c), uint64(0), uint64(0)
	for {
		var m importMessage
		if err := answers.Decode(&m); err != nil {
			return nil, errors.Join(ctx.Err(), fmt.Errorf("the replica's server ended after it had checked %d of %d bytes: the replica has the whole delta or serves nothing of it: run the same command again to continue", read, total))
		}
		if m.Total == 0 {
			return m.result()
		}
		read, total = m.Done, m.Total
		if progress != nil {
			progress(m.Done, m.Total)
		}
	}
}

// TakeImports takes imports for the folder until the returned function is
// called, which waits for those under way.
func TakeImports(folder string, run func(context.Context, *os.File, func(done, total uint64)) (*ledger.ImportReport, error)) (stop func(), err error) {
	path, done, err := socketPath(folder)
	if err != nil {
		return nil, err
	}
	// The lock of the store is held, so this is a leftover.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		done()
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		done()
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		done()
		return nil, errors.Join(err, l.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	places := make(chan struct{}, maxHandOvers)
	running.Go(func() {
		defer crash.Report()
		for {
			places <- struct{}{}
			c, err := l.AcceptUnix()
			if err != nil {
				return // it is closed
			}
			running.Go(func() {
				defer crash.Report()
				defer func() { <-places }()
				takeImport(ctx, c, run)
			})
		}
	})
	return func() {
		cancel()
		l.Close()
		running.Wait()
		done()
	}, nil
}

// handOverTime limits how long a client may take to hand its file over, or to
// take an answer. It is a variable for tests.
var handOverTime = 10 * time.Second

// maxHandOvers is the number of connections at a time. Further ones wait. The
// imports themselves wait for each other.
const maxHandOvers = 16

// takeImport serves one connection. The import ends when its client goes away.
// When imports end, the client still gets the outcome.
func takeImport(ctx context.Context, c *net.UnixConn, run func(context.Context, *os.File, func(done, total uint64)) (*ledger.ImportReport, error)) {
	defer c.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waiting := context.AfterFunc(ctx, func() { c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(handOverTime))
	file, err := receiveFile(c)
	if err != nil || !waiting() {
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	defer file.Close()
	go func() { // the client sends nothing more
		defer crash.Report()
		_, _ = io.Copy(io.Discard, c)
		cancel()
	}()
	out := bufio.NewWriter(c)
	send := func(m *importMessage) {
		_ = c.SetWriteDeadline(time.Now().Add(handOverTime))
		if json.NewEncoder(out).Encode(m) != nil || out.Flush() != nil {
			cancel()
		}
	}
	report, err := run(ctx, file, func(done, total uint64) {
		if total > 0 {
			send(&importMessage{Done: done, Total: total})
		}
	})
	send(resultMessage(report, err))
}

// receiveFile receives an open regular file.
func receiveFile(c *net.UnixConn) (*os.File, error) {
	oob := make([]byte, syscall.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return nil, err
	}
	messages, err := syscall.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(err, errors.New("no file"))
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(err, errors.New("no file"))
	}
	f := os.NewFile(uintptr(fds[0]), "delta")
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("not a regular file"), f.Close())
	}
	return f, nil
}
