//go:build unix

package remote

import "syscall"

const connectionRefused = syscall.ECONNREFUSED
