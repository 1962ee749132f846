package edge

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Guard refuses cross-origin requests from browsers. On loopback connections it
// also refuses requests for names of other hosts. Otherwise a page whose name
// resolves to this machine (DNS rebinding) would get the access of local
// callers. hosts are additional names, without ports, of servers on this
// machine. Requests forwarded by a proxy are exempt, because they get no
// privileges of local callers.
func Guard(next http.Handler, hosts []string) http.Handler {
	next = http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if OnLoopback(r) && !Forwarded(r) && !isLocal(r.Host, hosts) {
			http.Error(w, "this server does not serve the requested host name: use localhost, or add the name to hosts in the server's configuration", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Forwarded reports whether a proxy has marked the request as forwarded.
func Forwarded(r *http.Request) bool {
	return r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != ""
}

// IsLoopback reports whether a host of a URL, without a port and brackets, is
// this machine.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// OnLoopback reports whether the connection was accepted on a loopback address.
func OnLoopback(r *http.Request) bool {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	p, err := netip.ParseAddrPort(a.String())
	return err == nil && p.Addr().Unmap().IsLoopback()
}

// isLocal reports whether the name in a Host header belongs to this machine or
// is one of hosts.
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
