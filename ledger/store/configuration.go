package store

import "context"

// Configurations is implemented by stores that several servers share. They keep
// the configuration that those servers have in common, in versions that count
// from 1. The content of a version is opaque.
type Configurations interface {
	// Configuration returns the number and the content of the newest version.
	// The content is nil if the version is not after the given one, and both
	// are zero if none was published.
	Configuration(ctx context.Context, after uint64) (version uint64, content []byte, err error)
	// PublishConfiguration publishes a version, and reports whether it has:
	// only the one after the newest can be published, and only once. After an
	// error it may have been.
	PublishConfiguration(ctx context.Context, version uint64, content []byte) (bool, error)
}
