package mark

import (
	"fmt"
	"os"

	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/ledger/store"
)

// A Writer overwrites a publish mark that exists, for engines that keep no
// files of their own. It is for one goroutine.
type Writer struct{ f *os.File }

// OpenWriter opens the publish mark of the store in dir for writing.
func OpenWriter(dir string) (*Writer, error) {
	f, err := owner.OpenFile(Path(dir), os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("publish mark: %w", err)
	}
	return &Writer{f}, nil
}

// Publish writes the mark with a signed checkpoint. It does not wait for the
// disk.
func (w *Writer) Publish(signed []byte) error {
	if _, err := w.f.WriteAt(Marshal(&store.Mark{Checkpoint: signed}), 0); err != nil {
		return fmt.Errorf("publish mark: %w", err)
	}
	return nil
}

// Close closes the file.
func (w *Writer) Close() error { return w.f.Close() }
