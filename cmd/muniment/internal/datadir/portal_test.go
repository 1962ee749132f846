package datadir

import (
	"fmt"
	"testing"
)

// TestTrustedProxies checks which proxies can be named.
func TestTrustedProxies(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8": "[10.0.0.0/8]", "10.1.2.3/8": "[10.0.0.0/8]", "192.0.2.1": "[192.0.2.1/32]", "fd00::1": "[fd00::1/128]", "fd00::/8": "[fd00::/8]",
		"proxy.example.com": "", "0.0.0.0/0": "", "::/0": "", "10.0.0.0/33": "", "": "",
	} {
		c := defaultPortal
		c.TrustedProxies = []string{text}
		err := c.check()
		got, _ := c.proxies()
		if (err == nil) != (want != "") || want != "" && fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v, want %q", text, got, err, want)
		}
	}
}
