package datadir

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/internal/edge"
)

// A ServersConfig lists the servers of a log in a shared store.
type ServersConfig struct {
	URLs []string `yaml:"urls"` // at which they reach each other
	// CA is a file with the certificates of the authorities of the servers; "":
	// those of the system.
	CA string `yaml:"ca"`
	// PlainHTTP permits http URLs of other machines.
	PlainHTTP bool `yaml:"plain_http"`
}

func (c *ServersConfig) check(store string) error {
	if len(c.URLs) > 0 && store == "" {
		return errors.New("urls: only servers that share a store forward calls to each other: set store, or remove servers")
	}
	for i, text := range c.URLs {
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			return fmt.Errorf("urls[%d]: must be an http or https URL, such as https://ledger-0.example.com:7480", i)
		case u.User != nil || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
			return fmt.Errorf("urls[%d]: must have only a scheme, a host and a port", i)
		case u.Scheme == "http" && !c.PlainHTTP && !edge.IsLoopback(u.Hostname()):
			return fmt.Errorf("urls[%d]: calls contain credentials: use https, or set plain_http: true if the network between the servers is private", i)
		case slices.Contains(c.URLs[:i], text):
			return fmt.Errorf("urls[%d]: is listed twice", i)
		}
	}
	return nil
}

// Self returns the URL in servers.urls of the server that is advertised as the
// URL, or else listens on the address.
func (c *ServersConfig) Self(advertised, listen string) (string, error) {
	if advertised != "" {
		if !slices.Contains(c.URLs, advertised) {
			return "", fmt.Errorf("--advertise: %s is not in servers.urls: add it there, in the configuration of every server", advertised)
		}
		return advertised, nil
	}
	for _, text := range c.URLs {
		if u, err := url.Parse(text); err == nil && u.Host == listen {
			return text, nil
		}
	}
	return "", fmt.Errorf("no URL of servers.urls has the address %s: give the one of this server with --advertise", listen)
}

// connectTime limits how long another server is dialled. Longer than that, it
// is probably gone, and another one takes over.
const connectTime = 2 * time.Second

// ServersTransport returns a transport for calls to the other servers. No two
// calls share a connection at the same time, so none holds up others by a body
// that the other server does not read.
func (d *Dir) ServersTransport() (http.RoundTripper, error) {
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: connectTime}).DialContext,
		TLSHandshakeTimeout:    connectTime,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: connectTime, PingTimeout: connectTime},
		Protocols:              &http.Protocols{},
	}
	t.Protocols.SetHTTP1(true)
	if d.Config.Servers.CA != "" {
		pool, err := ReadCertificates(d.Rel(d.Config.Servers.CA))
		if err != nil {
			return nil, fmt.Errorf("servers.ca: %w", err)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	grpc := t.Clone()
	grpc.Protocols = &http.Protocols{}
	grpc.Protocols.SetHTTP2(true)
	grpc.Protocols.SetUnencryptedHTTP2(true)
	grpc.DisableKeepAlives = true // a connection for each call
	t.MaxIdleConnsPerHost = 64
	return &serversTransport{t, grpc}, nil
}

// A serversTransport forwards gRPC over HTTP/2, which it requires, and
// everything else over HTTP/1.1.
type serversTransport struct{ others, grpc *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t *serversTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if ct := r.Header.Get("Content-Type"); strings.HasPrefix(ct, "application/grpc") && !strings.HasPrefix(ct, "application/grpc-web") {
		return t.grpc.RoundTrip(r)
	}
	return t.others.RoundTrip(r)
}
