package edge

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Guard refuses requests that a page of another origin has a browser send. On
// connections of this machine it refuses names of other hosts, too: a page
// whose name is made to resolve to this machine (DNS rebinding) would else have
// what callers on this machine have. hosts are further names, without ports,
// under which a server on this machine is reached. A proxy marks what it
// forwards, and such requests have no privileges here.
func Guard(next http.Handler, hosts []string) http.Handler {
	next = http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if onLoopback(r) && !Forwarded(r) && !isLocal(r.Host, hosts) {
			http.Error(w, "this name is not served here: use localhost, or add it to hosts in the server's configuration", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Forwarded reports whether a proxy marks the request as one that it forwards.
func Forwarded(r *http.Request) bool {
	return r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != ""
}

// onLoopback reports whether the connection ends at an address that this
// machine only can reach.
func onLoopback(r *http.Request) bool {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	p, err := netip.ParseAddrPort(a.String())
	return err == nil && p.Addr().Unmap().IsLoopback()
}

// isLocal reports whether the name of a Host header is of this machine, or one
// of hosts.
func isLocal(host string, hosts []string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, host) })
}
