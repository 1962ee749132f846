//go:build !unix

package operate

import (
	"errors"
	"os"
)

// The commands that need these are refused here: see needsUnix in
// cmd/muniment.

func onReload() (requests <-chan os.Signal, stop func()) { return nil, func() {} }

func askToReload(int) error { return errors.ErrUnsupported }

func lockHolder(string) (int, error) { return 0, errors.ErrUnsupported }

func maxOpenFiles() (uint64, error) { return 0, errors.ErrUnsupported }
