package remote

import "golang.org/x/sys/windows"

const connectionRefused = windows.WSAECONNREFUSED
