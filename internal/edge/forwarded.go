package edge

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHops limits how many proxies a request can have passed.
const maxHops = 32

// ClientAddress returns the Address of the client that a request is from. It
// believes X-Forwarded-For as far as trusted proxies have written it: each adds
// the address that it was called from at the end, and the client can have
// written the rest.
func ClientAddress(r *http.Request, trusted []netip.Prefix) string {
	at := Address(r.RemoteAddr)
	if !isTrusted(hostOf(r.RemoteAddr), trusted) {
		return at
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	slices.Reverse(hops)
	for _, hop := range hops[:min(len(hops), maxHops)] {
		hop = hostOf(strings.TrimSpace(hop))
		address := Address(hop)
		if address == unknown {
			break
		}
		if at = address; !isTrusted(hop, trusted) {
			break
		}
	}
	return at
}

func isTrusted(host string, trusted []netip.Prefix) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(ip) })
}
