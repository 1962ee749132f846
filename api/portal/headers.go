package portal

import (
	"net/http"
	"strings"
)

// policy is the Content Security Policy (https://www.w3.org/TR/CSP3/), apart
// from scripts. The page loads from this server only, runs only the scripts
// that it was built with, sends forms to this server, and is shown in no frame.
// Every sink for scripts requires a value from the page's one Trusted Types
// policy.
var policy = []string{
	"default-src 'none'",
	"connect-src 'self'",
	"img-src 'self'",
	"font-src 'self'",
	"manifest-src 'self'",
	"worker-src 'self'",
	"form-action 'self'",
	"frame-ancestors 'none'",
	"base-uri 'none'",
	"require-trusted-types-for 'script'",
	"trusted-types muniment",
}

// setHeaders sets the headers of every answer below Path. The nonce is that of
// the page, or "" for other answers, which run nothing.
func setHeaders(w http.ResponseWriter, nonce string) {
	all := policy
	if nonce != "" {
		// A nonce without 'self': a file of this server that somebody else has
		// written is no script. The page's modules import each other under the
		// nonce of the first.
		all = append([]string{"script-src 'nonce-" + nonce + "'", "style-src 'self' 'nonce-" + nonce + "'"}, policy...)
	}
	h := w.Header()
	h.Set("Content-Security-Policy", strings.Join(all, "; "))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Embedder-Policy", "require-corp")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), publickey-credentials-get=(), usb=(), serial=(), bluetooth=(), browsing-topics=()")
}
