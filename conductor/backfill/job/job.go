// Package job reads the files that describe online column backfills. See
// docs/spec/backfill.md, section 9.
package job

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// MaxBytes is the size limit of a job file.
const MaxBytes = 256 << 10

// A Job describes a backfill.
type Job struct {
	Name     string // of the job, part of the names of its objects
	Entity   string // what is backfilled, as evidence names it
	Database Database

	Schema, Table string
	Column        string
	Type          string // of the new column, as in SQL
	Up, Down      string // SQL expressions
	Lossy         bool   // down(up(v)) can differ from v
	Names         Names

	Windows    []Window // empty: at any time
	Copy       Copy
	Throttle   Throttle
	Checkpoint Checkpoint
	ACA        ACA
	Ledger     Ledger
	Rehearsal  Rehearsal
	Cutover    Cutover

	// Text is the file, and SHA256 its digest in lower-case hexadecimal.
	Text   []byte
	SHA256 string
}

// Database selects the target. One of the two is set.
type Database struct {
	DSN    string // without a password
	DSNEnv string // name of the environment variable that contains the DSN
}

// Names are the names of the columns that a backfill adds.
type Names struct{ Shadow, Retired, Mark string }

// A Window is a time in which rows may be copied.
type Window struct {
	Days     []time.Weekday // on which it opens; empty: every day
	From, To time.Duration  // since midnight; To <= From ends on the next day
	Zone     *time.Location
}

// Copy bounds the copy.
type Copy struct {
	Target  time.Duration // of a chunk
	MaxRate int           // rows per second; 0: no limit
	Chunk   int           // rows of the first chunk
	Most    int           // rows of the largest chunk
}

// Throttle lists the limits of the measurements. 0 is no limit.
type Throttle struct {
	ReplicationLag    time.Duration
	WALRate           int64   // bytes per second
	DeadTuples        float64 // share of the table's rows
	Vacuum            bool    // wait for anti-wraparound vacuums
	BlockedSessions   int
	LockQueue         int
	OldestTransaction time.Duration
	Probe             Probe
	Query             Query
}

// A Probe is a query whose duration is limited.
type Probe struct {
	SQL string
	Max time.Duration
}

// A Query returns a number that is limited.
type Query struct {
	SQL string
	Max float64
}

// Checkpoint configures the checkpoints.
type Checkpoint struct {
	Every         float64 // percent
	Sample        int     // rows
	MaxNullRatio  float64
	MaxUnreported int
}

// Action is the reaction to a score below the threshold.
type Action string

// The actions.
const (
	Slow     Action = "slow"
	Pause    Action = "pause"
	Rollback Action = "rollback"
)

// ACA configures the canary analysis. See docs/spec/aca.md.
type ACA struct {
	Threshold  float64
	Below      Action
	Pairs      int           // of windows per checkpoint
	Window     time.Duration // length of a window
	MinPairs   int           // least pairs for a conclusion
	Seed       string        // 32 hexadecimal digits; "": drawn for each checkpoint
	Prometheus string        // URL without credentials; "" if no check needs it

	// PrometheusEnv is the name of the environment variable that contains the
	// URL instead.
	PrometheusEnv string

	Database bool // the counters of the database are checks
	Checks   []Check
}

// A Check compares a metric between windows with and without the copy.
type Check struct {
	Name     string
	Kind     string   // counter, tail or errors
	Query    string   // PromQL of the value, with the placeholders of aca.md
	Per      string   // PromQL of the units of work, observations or requests
	Quantile float64  // of a tail
	Margin   *float64 // relative change that is tolerated; nil: the default
	Absolute *float64 // absolute change that is tolerated; nil: the default
	Decrease bool     // a decrease is bad instead of an increase
	Decides  bool     // counts for the score
}

// Ledger selects the ledger that the steps are recorded in.
type Ledger struct {
	URL       string
	Tenant    string
	TokenFile string
	// IdentityToken is "auto" in a job of GitHub Actions or GitLab CI, or the
	// path of a file with an OIDC identity token.
	IdentityToken string
	TrustPolicy   string // path
	CA            string // path; "": the system's
}

// Rehearsal configures the rehearsal on a clone.
type Rehearsal struct {
	MaxAge time.Duration
	DSNEnv string        // a clone of the user; "": pg_basebackup
	Bin    string        // folder of PostgreSQL's programs
	User   string        // system user that runs the clone; "": this one
	Script string        // path of a script for pgbench
	Rate   int           // transactions per second of the script
	For    time.Duration // the load of each step
}

// Cutover configures the swap.
type Cutover struct {
	LockTimeout time.Duration
	Attempts    int
	Stage       string // of the gate
	Environment string
	Force       Force
}

// Force selects the sessions that --force may end.
type Force struct {
	Users          []string // globs
	Applications   []string // globs
	MinAge         time.Duration
	TerminateAfter time.Duration
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
