// Package link forwards TCP connections to a real program, and can be cut, for
// tests of lost connections.
package link

import (
	"io"
	"net"
	"sync"
)

// A Link forwards the connections to its address while it is not cut.
type Link struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu   sync.Mutex // guards what follows
	cut  bool
	open map[net.Conn]bool // both sides of each connection
}

// New returns a link to a target, HOST:PORT. The caller must close it.
func New(target string) (*Link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &Link{target: target, listener: l, open: map[net.Conn]bool{}}
	k.running.Go(k.accept)
	return k, nil
}

// Address returns the address of the link, HOST:PORT.
func (k *Link) Address() string { return k.listener.Addr().String() }

// Cut ends all connections, and each new one, until Join.
func (k *Link) Cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = true
	for c := range k.open {
		c.Close()
	}
}

// Join undoes Cut.
func (k *Link) Join() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = false
}

// Close ends the link.
func (k *Link) Close() {
	k.listener.Close()
	k.Cut()
	k.running.Wait()
}

func (k *Link) accept() {
	for {
		c, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.running.Go(func() { k.forward(c) })
	}
}

// hold notes a connection, so that Cut ends it, and reports whether it can be
// used.
func (k *Link) hold(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.cut {
		k.open[c] = true
	}
	return !k.cut
}

func (k *Link) release(c net.Conn) {
	c.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.open, c)
}

func (k *Link) forward(in net.Conn) {
	defer k.release(in)
	if !k.hold(in) {
		return
	}
	out, err := net.Dial("tcp", k.target)
	if err != nil {
		return
	}
	defer k.release(out)
	if !k.hold(out) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(in, out) // the other side sees the end
		in.Close()
	})
	_, _ = io.Copy(out, in)
	out.Close()
	back.Wait()
}
