// Package edge protects a server's listeners from clients: it limits
// connections by address, and refuses cross-origin requests from browsers.
package edge

import (
	"net"
	"net/netip"
	"strings"
	"sync"
)

// A Listener accepts a bounded number of connections. An address may hold at
// most as many as are still free: half of all if it is the only one, a third
// each if there are two, and so on. A new address therefore always finds a free
// connection. The same applies to the networks around an IPv6 address.
// Otherwise the holder of many networks could take all connections. Connections
// above the limit are closed immediately.
type Listener struct {
	net.Listener

	mu      sync.Mutex // guards the rest
	max     int
	open    int
	of      map[string]int // address, or network around it, to number of open connections
	refused uint64
}

// Bound returns a listener that accepts at most max simultaneous connections
// from l.
func Bound(l net.Listener, max int) *Listener {
	return &Listener{Listener: l, max: max, of: map[string]int{}}
}

// SetMax replaces the limit. Connections in excess of a lower limit stay open
// until their clients close them.
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
	networks := append(Wider(address), address)
	for _, n := range networks {
		if own := l.of[n]; l.open >= l.max || own > 0 && own+1 > l.max-l.open {
			l.refused++
			return false
		}
	}
	l.open++
	for _, n := range networks {
		l.of[n]++
	}
	return true
}

func (l *Listener) leave(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	for _, n := range append(Wider(address), address) {
		if l.of[n]--; l.of[n] == 0 {
			delete(l.of, n)
		}
	}
}

// Open returns the number of open connections.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// Refused returns the number of connections that were closed immediately.
func (l *Listener) Refused() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// A conn releases its place when it is closed.
type conn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// Address returns the account of a connection's address. For IPv6 that is a
// network, because one host has many addresses.
func Address(remote string) string {
	ip, err := netip.ParseAddr(hostOf(remote))
	if err != nil {
		return unknown
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() && !ip.IsLoopback() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}

// unknown is the account of addresses that cannot be read.
const unknown = "?"

// hostOf returns an address without its port, if it has one.
func hostOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return strings.Trim(remote, "[]")
}

// Wider returns the networks around an Address, narrowest first. One host can
// have many IPv6 networks: customers get a /48, and their providers a /32. IPv4
// addresses are scarce, so they have no wider networks.
func Wider(address string) []string {
	p, err := netip.ParsePrefix(address)
	if err != nil {
		return nil
	}
	var networks []string
	for _, bits := range []int{48, 32} {
		if wider, err := p.Addr().Prefix(bits); err == nil && bits < p.Bits() {
			networks = append(networks, wider.String())
		}
	}
	return networks
}
