package datadir

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"muniment.dev/muniment/api/portal"
)

// A PortalConfig configures the web page for people.
type PortalConfig struct {
	Enabled bool `yaml:"enabled"`
	// URL is the address of the server as browsers see it. Default: the address
	// that the server listens on.
	URL  string        `yaml:"url"`
	Idle time.Duration `yaml:"idle"` // of a session
	Life time.Duration `yaml:"life"` // of a session
	// TrustedProxies are addresses or networks whose X-Forwarded-For is
	// believed.
	TrustedProxies []string `yaml:"trusted_proxies"`
}

var defaultPortal = PortalConfig{Enabled: true, Idle: portal.DefaultIdle, Life: portal.DefaultLife}

func (c *PortalConfig) check() error {
	if c.Idle < time.Minute || c.Idle > c.Life {
		return fmt.Errorf("idle: %s: must be between 1m and life", c.Idle)
	}
	if c.Life > portal.MaxLife {
		return fmt.Errorf("life: %s: must be at most %s", c.Life, portal.MaxLife)
	}
	if _, err := c.proxies(); err != nil {
		return err
	}
	if c.URL == "" {
		return nil
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return fmt.Errorf("url: %q: must be a scheme and a host, such as https://ledger.example.com", c.URL)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())) {
		return errors.New("url: must begin with https://, because browsers keep no session otherwise")
	}
	return nil
}

// proxies returns the networks of the trusted proxies.
func (c *PortalConfig) proxies() (all []netip.Prefix, err error) {
	for i, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if ip, ipErr := netip.ParseAddr(text); ipErr == nil {
			p, err = ip.Prefix(ip.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("trusted_proxies[%d]: %q: must be an address or a network, such as 10.0.0.0/8", i, text)
		}
		if p.Bits() == 0 {
			return nil, fmt.Errorf("trusted_proxies[%d]: %q: must not be every address, because anybody could then choose an address", i, text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// Portal returns the configuration of the portal.
func (d *Dir) Portal() portal.Config {
	c := d.Config.Portal
	proxies, _ := c.proxies() // checked with the configuration
	return portal.Config{Off: !c.Enabled, URL: c.URL, Idle: c.Idle, Life: c.Life, Proxies: proxies}
}
