package oci

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"muniment.dev/muniment/internal/publicaddr"
)

// ErrAddress is wrapped by errors about redirects and token services whose
// address is not public.
var ErrAddress = errors.New("refused to connect")

// A guarded transport connects to the registry that the user named at any
// address. Other hosts, to which the registry redirects, must have a public or
// allowed address: a registry must not direct the verifier to services in the
// verifier's network. The check applies to the dialed address, after name
// resolution.
type guarded struct {
	registry string // host of the reference
	named    http.RoundTripper
	others   http.RoundTripper
	proxy    func(*http.Request) (*url.URL, error)
	allowed  []netip.Prefix
}

func newGuarded(registry string, base http.RoundTripper, allowed []netip.Prefix) (*guarded, error) {
	g := &guarded{registry: registry, named: base}
	t, ok := base.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("a transport of the type %T cannot be restricted to public addresses", base)
	}
	if isLoopbackHost(registry) { // its storage can be on this machine too
		allowed = append(allowed, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	}
	others := t.Clone()
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		return checkAddress(address, allowed)
	}}
	others.DialContext, others.DialTLSContext = dialer.DialContext, nil
	others.Proxy = nil
	g.others, g.proxy, g.allowed = others, t.Proxy, allowed
	return g, nil
}

// RoundTrip implements http.RoundTripper.
func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.EqualFold(req.URL.Host, g.registry) {
		return g.named.RoundTrip(req)
	}
	if g.proxy == nil {
		return g.others.RoundTrip(req)
	}
	via, err := g.proxy(req)
	if err != nil || via == nil {
		return g.others.RoundTrip(req)
	}
	// A proxy resolves names by its own rules, so literal addresses are checked
	// here too.
	if ip, err := netip.ParseAddr(req.URL.Hostname()); err == nil {
		if err := checkAddress(netip.AddrPortFrom(ip, 0).String(), g.allowed); err != nil {
			return nil, err
		}
	}
	return g.named.RoundTrip(req)
}

// checkAddress returns an error unless the address, IP:port, is public or
// allowed.
func checkAddress(address string, allowed []netip.Prefix) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w to %s: %w", ErrAddress, address, err)
	}
	ip := at.Addr()
	if publicaddr.Is(ip) || publicaddr.Allowed(ip, allowed) {
		return nil
	}
	return fmt.Errorf("%w to %s: the registry redirects to an address that is not public: allow it with --allow-address if it belongs to the registry", ErrAddress, ip.Unmap().WithZone(""))
}

func isLoopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

// ended reports whether an error ends a walk. Either the context ended, or the
// registry stalled and would stall for every other manifest too.
func ended(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, errSilent)
}
