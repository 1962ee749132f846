package main

import (
	"fmt"
	"path/filepath"
)

// loadReplicaPolicy reads the keys of the log that the folder is a replica of.
func (d *dataDir) loadReplicaPolicy() error {
	path := filepath.Join(d.path, policyFile)
	var err error
	if d.replica, err = readPolicyFile(path); err != nil {
		return err
	}
	if origin := d.replica.Origin(); origin != d.config.Origin {
		return fmt.Errorf("%s: it is for the log %q, %s says %q", path, origin, configFile, d.config.Origin)
	}
	return nil
}
