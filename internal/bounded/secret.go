package bounded

import (
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"

	"muniment.dev/muniment/internal/charset"
	"muniment.dev/muniment/internal/interrupt"
)

// maxSecret is the size limit of key and token files in bytes. It is not
// exported, so that only ReadSecret reads secrets.
const maxSecret = 64 << 10

// An exposure reports each exposed file once.
type exposure struct {
	report func(path string, mode fs.FileMode)
	seen   sync.Map // of paths
}

var exposed atomic.Pointer[exposure]

// OnExposed makes ReadSecret report each file that other users can read once,
// until reset is called. The report is global to the process, like the context
// of package interrupt.
func OnExposed(report func(path string, mode fs.FileMode)) (reset func()) {
	e := &exposure{report: report}
	exposed.Store(e)
	return func() { exposed.CompareAndSwap(e, nil) }
}

// ReadSecret reads a key or token file as ReadFile does. If its group or others
// can read the file, ReadSecret reports that and reads it anyway. No secret is
// in UTF-16 or UTF-32, so that is an error.
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
	data, err := readNamed(f, path, maxSecret)
	if err != nil {
		return nil, err
	}
	if encoding := charset.Of(data, ""); encoding == charset.UTF16 || encoding == charset.UTF32 {
		return nil, fmt.Errorf("%s: %s", path, charset.Explain(data))
	}
	return data, nil
}
