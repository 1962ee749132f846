package sniff

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, test := range []struct{ name, data, want string }{
		{"an object", `{"a":1}`, ""},
		{"an object on several lines", "{\n\"a\":\n{\"b\":1}\n}\n", ""},
		{"an object with an end of line", "{\"a\":1}\r\n", ""},
		{"text", "hello", ""},
		{"nothing", "", ""},
		{"a byte order mark", "\xef\xbb\xbf{}", "UTF-8 byte order mark"},
		{"UTF-16, little endian", "\xff\xfe{\x00}\x00", "UTF-16"},
		{"UTF-16, big endian", "\xfe\xff\x00{\x00}", "UTF-16"},
		{"UTF-16 without a mark", "{\x00}\x00", "UTF-16"},
		{"UTF-32", "\xff\xfe\x00\x00{\x00\x00\x00", "UTF-32"},
		{"UTF-32, big endian, without a mark", "\x00\x00\x00{\x00\x00\x00}", "UTF-32"},
		{"JSON Lines", "{\"a\":1}\n\n{\"a\":2}\r\n", "JSON Lines, several documents"},
		{"cosign's old bundle", `{"base64Signature":"eA==","cert":"eA==","rekorBundle":{}}`, "cosign's bundle format"},
		{"cosign's old bundle with a key", `{"base64Signature":"eA==","rekorBundle":{}}`, "cosign's bundle format"},
		{"cosign's signature of an image", `{"Base64Signature":"eA==","Payload":"eA==","Cert":null,"Bundle":{}}`, "cosign download signature"},
		{"cosign's log entry", `{"SignedEntryTimestamp":"eA==","Payload":{"body":"eA==","logIndex":1}}`, "only the log entry"},
	} {
		got := ""
		if err := Explain([]byte(test.data)); err != nil {
			got = err.Error()
		}
		if (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestJSON(t *testing.T) {
	for _, good := range []string{"{}", " {\"a\":1e400}\n", `{"a":"\udce9"}`} {
		if err := JSON([]byte(good)); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	const secret = "0d050b45578b37bdf27986793b087b039"
	for _, bad := range []string{"", secret, "d" + secret, "mnt_acme_" + secret, "-----BEGIN PRIVATE KEY-----\n" + secret, "{" + secret, `{"a":` + secret + "}", "\xef\xbb\xbf{}"} {
		if err := JSON([]byte(bad)); err == nil || strings.Contains(err.Error(), "050b") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
