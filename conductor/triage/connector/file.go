package connector

import (
	"context"
	"fmt"
	"os"
	"sync"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/wholefile"
)

// maxFile is the size limit of a file with targets.
const maxFile = 4 << 20

// A file contains the targets of a connector. Edits keep all its other bytes.
type file struct {
	path string
	mu   sync.Mutex // held while the file is changed
}

// A place is where a file contains the image of a target.
type place struct {
	image  Image
	offset int
}

func (f *file) read(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text, err := bounded.ReadFile(f.path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read the targets: %w", err)
	}
	return text, nil
}

// set replaces the image before, which find locates in the file's text. A file
// has no compare-and-set, so it is read directly before it is replaced.
func (f *file) set(ctx context.Context, before, after Image, find func(text []byte) (place, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := f.read(ctx)
	if err != nil {
		return err
	}
	at, err := find(text)
	if err != nil {
		return err
	}
	if string(at.image) != string(before) {
		return fmt.Errorf("%s: %w", f.path, ErrChanged)
	}
	edited := append(append(append([]byte{}, text[:at.offset]...), after...), text[at.offset+len(at.image):]...)
	info, err := os.Stat(f.path)
	if err == nil {
		err = wholefile.ReplacePath(f.path, edited, info.Mode().Perm())
	}
	if err != nil {
		return fmt.Errorf("write the targets: %w", err)
	}
	return nil
}
