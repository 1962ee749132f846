// Package portal serves the portal, the web page for people.
package portal

import (
	"sync"
	"time"

	page "muniment.dev/muniment/clients/portal"
)

// Config configures the portal. The zero value is the default.
type Config struct {
	// Off serves no portal.
	Off bool
	// URL is the server's address in browsers, without a path. "": the address
	// that SetURL is called with.
	URL  string
	Idle time.Duration // without use, after which a session ends; 0: DefaultIdle
	Life time.Duration // of a session; 0: DefaultLife
}

// The defaults and the largest value of the times of sessions.
const (
	DefaultIdle = time.Hour
	DefaultLife = 12 * time.Hour
	MaxLife     = 7 * 24 * time.Hour
)

// Built returns the page that the program was built with.
var Built = sync.OnceValues(func() (*Files, error) { return Load(page.Files()) })
