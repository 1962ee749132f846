package cosigner

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

func FuzzParseRequest(f *testing.F) {
	hash := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, s := range []string{"", "old 0\n\n", "old 7\n" + hash + "\n\nlog.example\n9\n" + hash + "\n\n— log.example AAAAAAA=\n", "old -1\n\n", "old 07\n\nx", "old 1\nAA==\n\n", "old 9223372036854775807\n\n\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseRequest(body)
		if err != nil {
			return
		}
		again := fmt.Sprintf("old %d\n", r.old) // what was read can be written again, to the byte
		for _, h := range r.proof {
			again += base64.StdEncoding.EncodeToString(h) + "\n"
		}
		if again += "\n" + string(r.signed); again != string(body) || len(r.proof) > maxProofSize || r.old < 0 || strings.Contains(r.origin, "\n") {
			t.Fatalf("%q is read as %q", body, again)
		}
	})
}
