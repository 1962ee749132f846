package operate

import (
	"strings"
	"testing"
)

// The connections and the store together never need more files than the process
// may open.
func TestConnectionsWithin(t *testing.T) {
	for _, c := range []struct {
		configured, listeners int
		files                 uint64
		want                  int
		warns                 bool
		err                   string
	}{
		{8192, 1, 1 << 20, 8192, false, ""},
		{8192, 1, 4096, 4096 - 1064 - 384 - 64, true, ""},
		{8192, 2, 4096, (4096 - 2*1064 - 384 - 64) / 2, true, ""},
		{100, 1, 4096, 100, false, ""},
		{5000, 1, 4096, 0, false, "limits.connections is 5000"},
		{8192, 1, 1024, 0, false, "raise the limit with ulimit -n"},
		{8192, 2, 2048, 0, false, "raise the limit with ulimit -n"},
	} {
		got, warning, err := connectionsWithin(c.configured, c.listeners, c.files)
		if got != c.want || (warning != "") != c.warns || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: %d, %q, %v", c, got, warning, err)
		}
	}
}
