package datadir

import (
	"fmt"
	"path/filepath"
)

// LoadReplicaPolicy reads the policy of the log that the folder is a replica
// of.
func (d *Dir) LoadReplicaPolicy() error {
	path := filepath.Join(d.Path, PolicyFile)
	var err error
	if d.Replica, err = ReadPolicyFile(path); err != nil {
		return err
	}
	if origin := d.Replica.Origin(); origin != d.Config.Origin {
		return fmt.Errorf("%s: it is for the log %q, but the origin in %s is %q", path, origin, ConfigFile, d.Config.Origin)
	}
	return nil
}
