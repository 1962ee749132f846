package datadir

import (
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/ledger/offload"
)

// A TilesConfig names the bucket for a copy of the public log.
type TilesConfig struct {
	Bucket string        `yaml:"bucket"` // its URL, or "": there is no copy
	Every  time.Duration `yaml:"every"`  // shortest time between two checkpoints
}

func (c *TilesConfig) check(all *Config) error {
	switch {
	case c.Every < time.Second || c.Every > time.Hour:
		return fmt.Errorf("every: %s: must be between 1s and 1h", c.Every)
	case c.Bucket == "":
		return nil
	case all.Replica:
		return errors.New("bucket: a replica writes no tiles: set it for the log")
	}
	if err := offload.CheckURL(c.Bucket, all.Objects); err != nil {
		return fmt.Errorf("bucket: %w", err)
	}
	return nil
}
