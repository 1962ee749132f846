package operate

import (
	"fmt"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
)

// What a server needs of open files beside its connections. Pebble ends the
// process when it can't open one.
const (
	filesOfStore    = 1000 + 64 // Pebble's cache of tables, and its logs and manifests
	filesOfStreams  = 128 + 256 // large payloads that are written, and that are read
	filesOfProcess  = 64
	leastOfClients  = 32
	defaultOpenConn = 8192
)

// connectionLimit returns how many connections each of a number of listeners
// may have open at once, where each has a store behind it and some files are
// reserved, and a warning if these are fewer than configured. (Go has raised
// the soft limit of open files to the hard one.)
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
		return 0, "", fmt.Errorf("the process may open %d files, and the server needs at least %d: raise the limit with ulimit -n, or LimitNOFILE= in its systemd unit", files, own+leastOfClients)
	}
	if left := (files - own) / uint64(listeners); uint64(configured) > left {
		if configured != defaultOpenConn {
			return 0, "", fmt.Errorf("limits.connections: %d, but the process may open %d files, of which the server needs %d itself: set at most %d, or raise the limit with ulimit -n or LimitNOFILE=", configured, files, own, left)
		}
		return int(left), fmt.Sprintf("connections are limited to %d of each listener, because the process may open %d files only", left, files), nil
	}
	return configured, "", nil
}

// limitConnections brings the configured connections below what the process may
// open.
func limitConnections(d *datadir.Dir, withRekor, withHealth bool) error {
	listeners, reserved := 1, 0
	if withRekor {
		listeners = 2
	}
	if withHealth {
		reserved = healthConnections
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
