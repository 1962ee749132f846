package term

import (
	"errors"

	"golang.org/x/sys/windows"
)

// isClosedPipe reports whether the reader of a pipe has closed it.
func isClosedPipe(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA)
}
