package datadir

import (
	"strings"
	"testing"
)

func TestCheckOrigin(t *testing.T) {
	for origin, want := range map[string]string{
		"ledger.example.com":          "",
		"ledger.example.com/east":     "",
		"localhost":                   "",
		"":                            "1 to 255",
		"https://ledger.example.com":  `has a scheme: use "ledger.example.com"`,
		"https://ledger.example.com/": `has a scheme: use "ledger.example.com"`,
		"ledger.example.com/":         `ends with a slash: use "ledger.example.com"`,
		"/ledger":                     `use "ledger"`,
		"a b":                         "use a host name",
		"a+b":                         "use a host name",
		"é.example":                   "use a host name",
		"ledger.example.com:7480":     "",
		"192.0.2.1":                   "",
		"[2001:db8::1]:7480/a":        "",
		".example.com":                "does not begin with a host name",
		"ledger..example":             "does not begin with a host name",
		"ledger.example.com.":         "does not begin with a host name",
		"ledger.example.com:":         "does not begin with a host name",
		"ledger.example.com//a":       "two slashes",
		"ledger.example.com?x":        "use a host name",
		"me@ledger.example.com":       "use a host name",
	} {
		err := CheckOrigin(origin)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", origin, err, want)
		}
	}
}

// A bucket without a database would not be used, so it is refused.
func TestObjectsRequireStore(t *testing.T) {
	c := Config{Origin: "ledger.example.com", Objects: "s3://bucket"}
	if err := c.check(); err == nil || !strings.Contains(err.Error(), "objects: requires store") {
		t.Errorf("got the error %v", err)
	}
}
