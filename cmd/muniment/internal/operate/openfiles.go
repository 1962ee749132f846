package operate

import (
	"fmt"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
)

// Open files of a server besides its connections. Pebble ends the process when
// it cannot open a file.
const (
	filesOfStore    = 1000 + 64 // Pebble's cache of tables, its logs and manifests
	filesOfStreams  = 128 + 256 // large payloads being written, and being read
	filesOfProcess  = 64
	leastOfClients  = 32
	defaultOpenConn = 8192
)

// connectionLimit returns the number of connections that each listener can have
// open at once, and a warning if it is less than configured. Each listener has
// a store, and the reserved files are not available.
func connectionLimit(configured, listeners, reserved int) (connections int, warning string, err error) {
	files, err := maxOpenFiles()
	if err != nil {
		return 0, "", err
	}
	return connectionsWithin(configured, listeners, max(files, uint64(reserved))-uint64(reserved))
}

func connectionsWithin(configured, listeners int, files uint64) (connections int, warning string, err error) {
	own := uint64(listeners*filesOfStore + filesOfStreams + filesOfProcess)
	if files < own+leastOfClients {
		return 0, "", fmt.Errorf("the process can open %d files, and the server needs at least %d: raise the limit with ulimit -n, or LimitNOFILE= in its systemd unit", files, own+leastOfClients)
	}
	if left := (files - own) / uint64(listeners); uint64(configured) > left {
		if configured != defaultOpenConn {
			return 0, "", fmt.Errorf("limits.connections is %d, but the process can open %d files, of which the server needs %d itself: set at most %d, or raise the limit with ulimit -n or LimitNOFILE=", configured, files, own, left)
		}
		return int(left), fmt.Sprintf("connections are limited to %d per listener, because the process can open only %d files", left, files), nil
	}
	return configured, "", nil
}

// limitConnections lowers the configured number of connections if the process
// cannot open enough files.
func limitConnections(d *datadir.Dir, withRekor, withHealth bool) error {
	listeners, reserved := 1, 0
	if withRekor {
		listeners = 2
	}
	if withHealth {
		reserved = sites["health"].Connections
	}
	connections, warning, err := connectionLimit(d.Config.Limits.Connections, listeners, reserved)
	if err != nil {
		return err
	}
	if d.Config.Limits.Connections = connections; warning != "" {
		d.Warnings = append(d.Warnings, warning)
	}
	return nil
}
