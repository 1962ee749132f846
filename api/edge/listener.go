// Package edge protects a server's listeners from their clients: it bounds
// connections by address, and refuses requests that a browser was made to send.
package edge

import (
	"net"
	"net/netip"
	"sync"
)

// A Listener accepts a bounded number of connections. An address may have at
// most as many as are still free: half if it is alone, a third each if there
// are two, and so on. So a new address always finds a free connection.
// Connections above the limit are closed at once.
type Listener struct {
	net.Listener

	mu      sync.Mutex // guards the rest
	max     int
	open    int
	of      map[string]int // address to its open connections
	refused uint64
}

// Bound returns a listener that accepts at most max connections of the other
// one at a time.
func Bound(l net.Listener, max int) *Listener {
	return &Listener{Listener: l, max: max, of: map[string]int{}}
}

// SetMax replaces the limit. Connections above a lower one stay open until
// their clients close them.
func (l *Listener) SetMax(max int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.max = max
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		address := Address(c.RemoteAddr().String())
		if l.enter(address) {
			return &conn{Conn: c, leave: sync.OnceFunc(func() { l.leave(address) })}, nil
		}
		_ = c.Close() // it was never served
	}
}

func (l *Listener) enter(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if own := l.of[address]; l.open >= l.max || own > 0 && own+1 > l.max-l.open {
		l.refused++
		return false
	}
	l.open++
	l.of[address]++
	return true
}

func (l *Listener) leave(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.of[address]--; l.of[address] == 0 {
		delete(l.of, address)
	}
}

// Open returns how many connections are open.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// Refused returns how many connections were closed at once.
func (l *Listener) Refused() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// A conn leaves when it is closed.
type conn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// Address names the holder of the address of a connection: of IPv6 a network,
// since one host has many addresses.
func Address(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "?"
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() && !ip.IsLoopback() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
