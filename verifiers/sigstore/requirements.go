package sigstore

import (
	"errors"
	"fmt"
)

// A Threshold is a required number. The zero value is refused, so that no
// requirement is dropped by accident. Use None to require none.
type Threshold int

// None requires none.
const None Threshold = -1

// maxThreshold is sigstore-go's limit for the entries and timestamps of a
// bundle.
const maxThreshold = 32

// AtLeast returns the threshold n. AtLeast(0) is None.
func AtLeast(n int) Threshold {
	if n == 0 {
		return None
	}
	return Threshold(n)
}

// Requirements define what a bundle must contain besides a signature.
type Requirements struct {
	// LogEntries is the number of transparency logs in the trusted root that
	// must have an entry for the signature. With None, the bundle's entries are
	// ignored.
	LogEntries Threshold

	// Timestamps is the number of trusted signing times. They come from
	// timestamp authorities, and from logs that sign the times of their entries
	// (Rekor v1). A certificate must be valid at these times.
	Timestamps Threshold

	// SignedTimestamps counts RFC 3161 timestamps only.
	SignedTimestamps bool

	// SCTs is the number of certificate transparency logs in the trusted root
	// that must have promised to include the certificate. Keys have none.
	SCTs Threshold

	// CurrentTime requires the certificate to be valid now. It requires that
	// Timestamps is None, and suits long-lived certificates.
	CurrentTime bool
}

// ForCertificates are the requirements for certificates of the public-good
// instance: a log entry, its time and an SCT.
var ForCertificates = Requirements{LogEntries: 1, Timestamps: 1, SCTs: 1}

// ForKeys are the usual requirements for bundles signed with a key: a log
// entry.
var ForKeys = Requirements{LogEntries: 1, Timestamps: None, SCTs: None}

// check returns an error if the requirements are incomplete, or cannot be met
// by signatures with keys or with certificates.
func (r Requirements) check(keys bool) error {
	for _, t := range []struct {
		what string
		n    Threshold
	}{{"log entries", r.LogEntries}, {"timestamps", r.Timestamps}, {"SCTs", r.SCTs}} {
		if t.n == 0 {
			return fmt.Errorf("requirements: number of %s not specified: use None to require none", t.what)
		}
		if t.n < None || t.n > maxThreshold {
			return fmt.Errorf("requirements: %d %s; must be at most %d", t.n, t.what, maxThreshold)
		}
	}
	switch {
	case keys && r.SCTs != None:
		return errors.New("requirements: signatures with keys have no SCTs: require 0")
	case keys && r.CurrentTime:
		return errors.New("requirements: the current time applies only to certificates, not to keys")
	case r.CurrentTime && r.Timestamps != None:
		return errors.New("requirements: a certificate is checked either at the current time or at the time of its timestamps, not both")
	case !keys && r.Timestamps == None && !r.CurrentTime:
		return errors.New("requirements: a certificate must be checked at some time: require a timestamp, or use the current time")
	case r.SignedTimestamps && r.Timestamps == None:
		return errors.New("requirements: signed timestamps are required, but no timestamps")
	}
	return nil
}

// needsRoot reports whether verifying signatures with keys requires a trusted
// root.
func (r Requirements) needsRoot() bool { return r.LogEntries != None || r.Timestamps != None }
