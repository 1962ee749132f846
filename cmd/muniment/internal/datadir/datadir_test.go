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
	} {
		err := CheckOrigin(origin)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", origin, err, want)
		}
	}
}
