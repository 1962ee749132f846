package plain

import (
	"io/fs"
	"os"
	"strings"
)

// fileOps maps the system calls in errors about files to words.
var fileOps = map[string]string{
	"stat": "open", "lstat": "open", "fstat": "open", "statat": "open", "lstatat": "open", "fstatat": "open", "newfstatat": "open",
	"openat":   "open",
	"readlink": "read link", "readlinkat": "read link",
	"readdirent": "read folder", "getdents64": "read folder", "fdopendir": "read folder",
	"mkdir": "create folder", "mkdirat": "create folder",
	"linkat": "link", "symlinkat": "symlink", "renameat": "rename",
	"unlinkat": "remove", "unlink": "remove", "rmdir": "remove", "RemoveAll": "remove", "removeat": "remove",
	"chmodat": "chmod", "fchmod": "chmod", "fchmodat": "chmod",
	"chownat": "chown", "lchown": "chown", "lchownat": "chown", "fchown": "chown", "fchownat": "chown",
	"chtimesat": "set the times of", "chtimes": "set the times of",
	"fsync": "sync", "ftruncate": "truncate", "fcntl": "lock", "flock": "lock",
}

// FileErrors returns the text of an error, with the names of system calls in
// the errors about files that it wraps replaced by words.
func FileErrors(err error) string {
	text := err.Error()
	walk(err, func(e error) {
		var op *string
		switch e := e.(type) {
		case *fs.PathError:
			clone := *e
			op, err = &clone.Op, &clone
		case *os.LinkError:
			clone := *e
			op, err = &clone.Op, &clone
		default:
			return
		}
		if word, ok := fileOps[*op]; ok {
			*op = word
			text = strings.Replace(text, e.Error(), err.Error(), 1)
		}
	})
	return text
}

// walk calls do for an error and each error that it wraps.
func walk(err error, do func(error)) {
	if err == nil {
		return
	}
	do(err)
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		walk(e.Unwrap(), do)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			walk(err, do)
		}
	}
}
