package artifact

import (
	"strings"
	"testing"
)

// TestSame compares digest sets, hostile ones included.
func TestSame(t *testing.T) {
	type set = map[string]string
	a, b := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	md5 := strings.Repeat("0", 32)
	for _, c := range []struct {
		name string
		a, b set
		want bool
	}{
		{"equal", set{"sha256": a}, set{"sha256": a}, true},
		{"upper case", set{"sha256": a}, set{"SHA256": strings.ToUpper(a)}, true},
		{"different", set{"sha256": a}, set{"sha256": b}, false},
		{"other algorithms", set{"sha256": a}, set{"sha384": a}, false},
		{"one of two", set{"sha256": a, "sha512": a + a}, set{"sha512": a + a}, true},
		{"one equal, one different", set{"sha256": a, "sha512": a + a}, set{"sha256": a, "sha512": b + b}, false},
		{"two spellings of one algorithm that differ", set{"sha256": a}, set{"sha256": a, "SHA256": b}, false},
		{"only an algorithm that is not listed", set{"crc32": "0"}, set{"crc32": "0"}, false},
		{"different by an algorithm that is not listed", set{"crc32": "0", "sha256": a}, set{"CRC32": "1", "sha256": a}, false},
		{"only a weak algorithm", set{"md5": md5}, set{"md5": md5}, false},
		{"equal by a weak algorithm, different by a strong one", set{"md5": md5, "sha256": a}, set{"md5": md5, "sha256": b}, false},
		{"different by a weak algorithm, equal by a strong one", set{"md5": md5, "sha256": a}, set{"md5": md5[1:] + "1", "sha256": a}, false},
		{"a commit", set{"gitCommit": strings.Repeat("1", 40)}, set{"gitcommit": strings.Repeat("1", 40)}, true},
		{"an empty value", set{"sha256": ""}, set{"sha256": ""}, false},
		{"empty sets", nil, set{}, false},
	} {
		if Same(c.a, c.b) != c.want || Same(c.b, c.a) != c.want {
			t.Errorf("%s: want %v", c.name, c.want)
		}
	}
}
