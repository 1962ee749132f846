package bounded

import (
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"

	"muniment.dev/muniment/internal/interrupt"
)

// maxSecret limits the file of a key or token, in bytes. It is not exported,
// so that secrets are read by ReadSecret alone.
const maxSecret = 64 << 10

// An exposure reports each exposed file once.
type exposure struct {
	report func(path string, mode fs.FileMode)
	seen   sync.Map // of paths
}

var exposed atomic.Pointer[exposure]

// OnExposed makes ReadSecret report the files that other users can read, each
// path once, until reset is called. Permissions of files are of the machine,
// and so the program has one report, as it has one interrupt.
func OnExposed(report func(path string, mode fs.FileMode)) (reset func()) {
	e := &exposure{report: report}
	exposed.Store(e)
	return func() { exposed.CompareAndSwap(e, nil) }
}

// ReadSecret reads the file of a key or token as ReadFile does. A file that
// its group or others can read is reported, and read.
func ReadSecret(path string) ([]byte, error) {
	f, err := interrupt.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// A pipe or device stores no secret. On Windows every file has the same
	// mode, and access lists decide.
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o044 != 0 && runtime.GOOS != "windows" {
		if e := exposed.Load(); e != nil {
			if _, again := e.seen.LoadOrStore(path, nil); !again {
				e.report(path, mode.Perm())
			}
		}
	}
	return readNamed(f, path, maxSecret)
}
