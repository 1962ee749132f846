package charset

import "testing"

func TestOf(t *testing.T) {
	for _, test := range []struct{ name, text, first, want string }{
		{"nothing", "", "", ""},
		{"ASCII", "log", "", ""},
		{"one byte", "l", "", ""},
		{"UTF-8", "\xc3\xa4", "", ""},
		{"UTF-8 with a mark", "\xef\xbb\xbflog", "", UTF8BOM},
		{"UTF-16, little endian", "\xff\xfel\x00", "", UTF16},
		{"UTF-16, big endian", "\xfe\xff\x00l", "", UTF16},
		{"UTF-16, little endian, without a mark", "l\x00o\x00", "", UTF16},
		{"UTF-16, big endian, without a mark", "\x00l\x00o", "", UTF16},
		{"UTF-32, little endian", "\xff\xfe\x00\x00l\x00\x00\x00", "", UTF32},
		{"UTF-32, big endian", "\x00\x00\xfe\xff\x00\x00\x00l", "", UTF32},
		{"UTF-32, little endian, without a mark", "l\x00\x00\x00", "", UTF32},
		{"UTF-32, big endian, without a mark", "\x00\x00\x00l", "", UTF32},
		{"zeros", "\x00\x00\x00\x00", "", ""},
		{"a control character", "\x01\x00\x02\x00", "", ""},
		{"the first character", "{\x00}\x00", "{", UTF16},
		{"another first character", "l\x00o\x00", "{", ""},
	} {
		if got := Of([]byte(test.text), test.first); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
