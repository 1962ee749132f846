package datadir

import (
	"errors"
	"fmt"
	"net"
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
}

var defaultPortal = PortalConfig{Enabled: true, Idle: portal.DefaultIdle, Life: portal.DefaultLife}

func (c *PortalConfig) check() error {
	if c.Idle < time.Minute || c.Idle > c.Life {
		return fmt.Errorf("idle: %s: must be between 1m and life", c.Idle)
	}
	if c.Life > portal.MaxLife {
		return fmt.Errorf("life: %s: must be at most %s", c.Life, portal.MaxLife)
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

// Portal returns the configuration of the portal.
func (d *Dir) Portal() portal.Config {
	c := d.Config.Portal
	return portal.Config{Off: !c.Enabled, URL: c.URL, Idle: c.Idle, Life: c.Life}
}
