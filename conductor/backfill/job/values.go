package job

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

func (r *parser) members(known map[string]reader) reader {
	return func(n *yaml.Node, f string) { r.Members(n, f, known) }
}

func (r *parser) text(to *string, limit int) reader {
	return func(n *yaml.Node, f string) {
		s := r.Text(n, f)
		switch {
		case len(s) > limit:
			r.Wrong(n, f, "%d bytes, above the limit of %d", len(s), limit)
		case strings.ContainsRune(s, 0):
			r.Wrong(n, f, "must not contain a null character")
		}
		*to = s
	}
}

func (r *parser) matching(to *string, pattern *regexp.Regexp, problem string) reader {
	return func(n *yaml.Node, f string) {
		if *to = r.Text(n, f); *to != "" && !pattern.MatchString(*to) {
			r.Wrong(n, f, "%s", problem)
		}
	}
}

func (r *parser) oneOf(n *yaml.Node, field string, allowed ...string) string {
	s := r.Text(n, field)
	if s != "" && !slices.Contains(allowed, s) {
		r.Wrong(n, field, "must be one of %s", strings.Join(allowed, ", "))
	}
	return s
}

func (r *parser) boolean(to *bool) reader {
	return func(n *yaml.Node, f string) { *to = r.Boolean(n, f) }
}

func (r *parser) number(to *int, low, high int) reader {
	return func(n *yaml.Node, f string) { *to = r.Number(n, f, low, high) }
}

func (r *parser) float(to *float64, low, high float64) reader {
	return func(n *yaml.Node, f string) {
		v, err := strconv.ParseFloat(r.Text(n, f), 64)
		if err != nil || !(v >= low && v <= high) {
			r.Wrong(n, f, "must be a number from %g to %g", low, high)
		}
		*to = v
	}
}

func (r *parser) optional(to **float64, low, high float64) reader {
	return func(n *yaml.Node, f string) {
		*to = new(float64)
		r.float(*to, low, high)(n, f)
	}
}

// share reads a number from 0 to 1.
func (r *parser) share(to *float64) reader { return r.float(to, 0, 1) }

func (r *parser) duration(to *time.Duration, low, high time.Duration) reader {
	return func(n *yaml.Node, f string) {
		s := r.Text(n, f)
		d, err := time.ParseDuration(s)
		if s != "" && (err != nil || d < low || d > high) {
			r.Wrong(n, f, "must be a duration from %s to %s, such as 250ms, 30s or 12h", low, high)
		}
		*to = d
	}
}

// clock reads a time of day.
func (r *parser) clock(to *time.Duration) reader {
	return func(n *yaml.Node, f string) {
		at, err := time.Parse("15:04", r.Text(n, f))
		if err != nil {
			r.Wrong(n, f, `must be a time such as "22:30", in quotes`)
			return
		}
		*to = time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute
	}
}

var size = regexp.MustCompile(`^([1-9][0-9]{0,8})(KiB|MiB|GiB|B)$`)

// bytes reads an amount such as 64MiB.
func (r *parser) bytes(to *int64) reader {
	return func(n *yaml.Node, f string) {
		m := size.FindStringSubmatch(r.Text(n, f))
		if m == nil {
			r.Wrong(n, f, "must be a size with the unit B, KiB, MiB or GiB, such as 64MiB")
			return
		}
		v, _ := strconv.ParseInt(m[1], 10, 64) // the pattern bounds it
		*to = v << map[string]int{"B": 0, "KiB": 10, "MiB": 20, "GiB": 30}[m[2]]
	}
}

// ParseURL parses an http or https URL.
func ParseURL(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	return u, err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// hasPassword reports whether a connection string contains a password, as a URL
// or as keywords.
func hasPassword(dsn string) bool {
	if u, err := url.Parse(dsn); err == nil && u.Scheme != "" {
		_, set := u.User.Password()
		return set || u.Query().Has("password") || u.Query().Has("sslpassword")
	}
	return keyword.MatchString(dsn)
}

var keyword = regexp.MustCompile(`(?i)(^|\s)(ssl)?password\s*=`)
