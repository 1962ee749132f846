package sigstore

import (
	"errors"
	"fmt"
)

// A Threshold is how many of something a bundle must have. Its zero value is
// refused, so that no requirement is dropped by accident. To require none, use
// None.
type Threshold int

// None means that none are required.
const None Threshold = -1

// maxThreshold is what sigstore-go bounds the entries and timestamps of a
// bundle to.
const maxThreshold = 32

// AtLeast is the threshold n. AtLeast(0) is None: the zero is said.
func AtLeast(n int) Threshold {
	if n == 0 {
		return None
	}
	return Threshold(n)
}

// Requirements define what a bundle must have besides a signature.
type Requirements struct {
	// LogEntries is how many transparency logs of the trusted root must have an
	// entry of the signature. With None the entries of a bundle are not looked
	// at.
	LogEntries Threshold

	// Timestamps is how many times of the signature must be known from somebody
	// trusted: a timestamp authority, or a log that signs the times of its
	// entries (Rekor v1). A certificate is judged at these times.
	Timestamps Threshold

	// SignedTimestamps counts RFC 3161 timestamps only.
	SignedTimestamps bool

	// SCTs is how many certificate transparency logs of the trusted root must
	// have promised to list the certificate. Keys have none.
	SCTs Threshold

	// CurrentTime judges a certificate at the present time. It goes with
	// Timestamps: None, and suits certificates that live for long.
	CurrentTime bool
}

// ForCertificates is what bundles of the public-good instance have: a log
// entry, a time for it and an SCT.
var ForCertificates = Requirements{LogEntries: 1, Timestamps: 1, SCTs: 1}

// ForKeys is the usual requirement of bundles that were signed with a key: a
// log entry.
var ForKeys = Requirements{LogEntries: 1, Timestamps: None, SCTs: None}

// check returns an error if the requirements are incomplete, or can't be met by
// signatures with keys or with certificates.
func (r Requirements) check(keys bool) error {
	for _, t := range []struct {
		what string
		n    Threshold
	}{{"log entries", r.LogEntries}, {"timestamps", r.Timestamps}, {"SCTs", r.SCTs}} {
		if t.n == 0 {
			return fmt.Errorf("requirements: it is not said how many %s are needed; say so if it is none", t.what)
		}
		if t.n < None || t.n > maxThreshold {
			return fmt.Errorf("requirements: %d %s; at most %d can be asked for", t.n, t.what, maxThreshold)
		}
	}
	switch {
	case keys && r.SCTs != None:
		return errors.New("requirements: SCTs are of certificates, and these signatures are made with keys; ask for none")
	case keys && r.CurrentTime:
		return errors.New("requirements: the current time is for certificates, and these signatures are made with keys")
	case r.CurrentTime && r.Timestamps != None:
		return errors.New("requirements: a certificate is judged either at the current time or at that of timestamps, not both")
	case !keys && r.Timestamps == None && !r.CurrentTime:
		return errors.New("requirements: a certificate must be judged at some time; ask for a timestamp, or for the current time")
	case r.SignedTimestamps && r.Timestamps == None:
		return errors.New("requirements: signed timestamps, but none of them")
	}
	return nil
}

// needsRoot reports whether signatures with keys can't be verified without a
// trusted root.
func (r Requirements) needsRoot() bool { return r.LogEntries != None || r.Timestamps != None }
