//go:build !unix

package wholefile

import (
	"errors"
	"os"
)

func lock(*os.File) error { return errors.ErrUnsupported }

var errLocked = errors.New("locked")

const canSweep = false
