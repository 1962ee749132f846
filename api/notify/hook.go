package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"muniment.dev/muniment/controls/posture"
	"muniment.dev/muniment/internal/publicaddr"
)

// A Hook is a receiver of events.
type Hook struct {
	Name   string // unique
	URL    string
	Secret Secret
	// Tenants are those whose events it receives; empty: all.
	Tenants []string
	// Types are those of the events that it receives; empty: all.
	Types []string
	// Lead is how long before its expiry an exception is expiring.
	Lead time.Duration
	// Allowed are addresses to connect to, besides public ones.
	Allowed []netip.Prefix
}

// DefaultLead is the usual Hook.Lead.
const DefaultLead = 72 * time.Hour

// A Secret signs events. It does not print itself.
type Secret struct{ key []byte }

// secretPrefix begins the text of a secret, as the Standard Webhooks
// specification has it.
const secretPrefix = "whsec_"

// ParseSecret reads a secret: whsec_ and the base64 of 24 to 64 bytes.
func ParseSecret(text []byte) (Secret, error) {
	encoded, ok := strings.CutPrefix(strings.TrimSpace(string(text)), secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return Secret{}, errors.New("must be whsec_ and the base64 of 24 to 64 random bytes")
	}
	return Secret{key}, nil
}

// String implements fmt.Stringer.
func (Secret) String() string { return "(secret)" }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return "(secret)" }

// sign returns the value of the header webhook-signature.
func (s Secret) sign(id, timestamp string, body []byte) string {
	m := hmac.New(sha256.New, s.key)
	fmt.Fprintf(m, "%s.%s.", id, timestamp)
	m.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// Check returns an error unless the hook is valid.
func (h *Hook) Check() error {
	u, err := url.Parse(h.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("url: must be an https URL without user name")
	case u.Scheme == "http" && len(h.Allowed) == 0:
		return errors.New("url: http is for addresses in allow_addresses only: use https, or list the receiver's address")
	case h.Lead <= 0 || h.Lead > 366*24*time.Hour:
		return errors.New("lead: must be more than 0 and at most 366 days")
	}
	for _, kind := range h.Types {
		if !slices.Contains(posture.Types, kind) {
			return fmt.Errorf("events: %q is not an event: use %s", kind, strings.Join(posture.Types, ", "))
		}
	}
	return nil
}

// receives reports whether the hook receives a tenant's events of a type.
func (h *Hook) receives(tenant, kind string) bool {
	return (len(h.Tenants) == 0 || slices.Contains(h.Tenants, tenant)) && (len(h.Types) == 0 || slices.Contains(h.Types, kind))
}

const (
	attemptTime = 15 * time.Second // longest attempt to deliver
	maxAnswer   = 64 << 10         // bytes read of an answer
)

// client returns an HTTP client for the hook. It follows no redirect and uses
// no proxy, and the address to which it connects is checked after the name was
// resolved: the owner of the name must not direct the server into its
// own network.
func (h *Hook) client() *http.Client {
	plain := strings.HasPrefix(h.URL, "http:")
	dialer := &net.Dialer{Timeout: attemptTime, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err == nil && (publicaddr.Allowed(at.Addr(), h.Allowed) || !plain && publicaddr.Is(at.Addr())) {
			return nil
		}
		return fmt.Errorf("refused to connect to %s, which is not public: list it in allow_addresses if it is the receiver's", address)
	}}
	return &http.Client{
		Timeout:       attemptTime,
		Transport:     &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: attemptTime, MaxResponseHeaderBytes: maxAnswer, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// deliver sends an event, and returns nil once a 2xx status confirms it. The
// error does not contain the URL, whose path is often a secret.
func (h *Hook) deliver(ctx context.Context, client *http.Client, id string, body []byte, now time.Time) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("the request cannot be made")
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "muniment (+https://muniment.dev)")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", timestamp)
	req.Header.Set("Webhook-Signature", h.Secret.sign(id, timestamp, body))
	res, err := client.Do(req)
	if ue := (*url.Error)(nil); errors.As(err, &ue) {
		return ue.Err
	} else if err != nil {
		return err
	}
	defer res.Body.Close()
	// so that the connection can be reused
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("the answer was %d %s", res.StatusCode, http.StatusText(res.StatusCode))
	}
	return nil
}
