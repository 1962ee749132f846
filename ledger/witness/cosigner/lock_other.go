//go:build !unix

package cosigner

import (
	"errors"
	"os"
)

// lockFile refuses: a witness without a lock could cosign a split view.
func lockFile(*os.File) error { return errors.ErrUnsupported }
