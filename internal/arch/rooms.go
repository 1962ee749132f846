// Package arch defines the rooms of the repository and which room may import
// which. Its tests check every package against the table, test imports
// included, and compare the table with docs/architecture.md.
package arch

import "slices"

// A Room is a folder of Go packages under one import rule. It covers the
// folders below it, except those that are rooms themselves.
type Room struct {
	Folder  string
	Purpose string

	// Imports lists the rooms that the room's packages may import, besides
	// their own room and those in everyone. An item covers the rooms below it,
	// except those that are ByName.
	Imports []string

	// Tests lists what tests may import besides Imports and forTests.
	Tests []string

	// ByName requires importers to list the room itself. An item for a folder
	// above it does not cover it.
	ByName bool

	// Coming marks a room without a package yet.
	Coming bool
}

// everyone lists leaf rooms that every package may import.
var everyone = []string{"clients/go/adaptivecache"}

// forTests lists rooms that the tests of every room may import.
var forTests = []string{"internal/peers", "internal/soak", "ledger/store/memstore"}

// server lists the rooms that make up the server and its clients.
var server = []string{"api", "controls", "ingest", "verifiers", "ledger", "clients/go", "proto", "internal"}

// shared lists the packages that all groups of commands share.
var shared = []string{"cmd/muniment/internal/datadir", "cmd/muniment/internal/remote"}

// commands lists what a group of commands may import. No group imports another.
var commands = slices.Concat(shared, server)

// Rooms is the table. Imports point down it.
var Rooms = []Room{
	{
		Folder: "cmd/muniment", Purpose: "the command line: the program, its table of commands, and completion",
		Imports: []string{"cmd/muniment/internal", "internal"},
		Tests:   slices.Concat([]string{"ledger/engine", "conductor"}, server),
	},
	{
		Folder: "cmd/muniment/internal/operate", Purpose: "commands that run servers, witnesses, mirrors and monitors",
		Imports: slices.Concat([]string{"ledger/engine"}, commands),
	},
	{
		Folder: "cmd/muniment/internal/evidence", Purpose: "commands that record, find, transfer and erase evidence",
		Imports: commands,
	},
	{
		Folder: "cmd/muniment/internal/prove", Purpose: "commands that verify evidence, receipts and logs",
		Imports: commands,
	},
	{
		Folder: "cmd/muniment/internal/decide", Purpose: "commands that decide from evidence",
		Imports: commands,
	},
	{
		Folder: "cmd/muniment/internal/demo", Purpose: "makes the company of the demo: two weeks of a log, recorded through its API",
		Imports: commands,
	},
	{
		Folder: "cmd/muniment/internal/remote", Purpose: "connections of commands to servers and registries",
		Imports: []string{"cmd/muniment/internal/datadir", "clients/go", "verifiers", "ledger", "proto", "internal"},
	},
	{
		Folder: "cmd/muniment/internal/datadir", Purpose: "data folders: configuration, keys, stores",
		Imports: []string{"ledger/engine", "api", "controls", "ingest", "verifiers", "ledger", "clients/go", "internal"},
	},
	{
		Folder: "cmd/conductor", Purpose: "the command line of backfill and triage",
		Imports: []string{"conductor", "clients/go", "ledger/receipt", "proto", "internal"},
	},
	{
		Folder: "conductor", Purpose: "backfill and triage, which are customers of the ledger",
		Imports: []string{"clients/go", "ledger/receipt", "proto", "internal"},
	},
	{
		Folder: "bench", Purpose: "measurements, and the mutants on which the three verifiers must agree",
		Imports: slices.Concat([]string{"conductor", "internal/peers", "ledger/engine"}, server),
	},
	{
		Folder: "internal/peers", Purpose: "the real programs that tests and measurements run beside Muniment",
		Imports: []string{"api", "clients/go", "ledger", "internal/soak", "ledger/store/memstore", "proto", "internal"},
		ByName:  true,
	},
	{
		Folder: "deploy/release", Purpose: "archives, image and provenance of releases",
	},
	{
		Folder: "deploy/monitoring", Purpose: "writes the dashboards for Grafana, and tests them and the alerts",
		Tests: []string{"conductor", "clients/go", "ledger/receipt", "proto", "internal"},
	},
	{
		Folder: "api", Purpose: "the server's HTTP side: services, authentication, authorization, limits",
		Imports: []string{"ingest", "controls", "ledger", "clients/portal", "proto", "internal"},
		Tests:   []string{"verifiers"},
	},
	{
		Folder: "controls", Purpose: "projections of the ledger and decisions from them",
		Imports: []string{"ledger", "verifiers", "proto", "internal"},
		Tests:   []string{"ingest"},
	},
	{
		Folder: "ingest", Purpose: "from a submission to an entry: kinds, headers, admission policy, retention",
		Imports: []string{"verifiers", "ledger", "proto", "internal"},
	},
	{
		Folder: "clients/go", Purpose: "the Go client, with its auditor, mirror and monitor",
		Imports: []string{"proto", "ledger/entry", "ledger/receipt", "internal"},
		Tests:   []string{"api/tiles", "ledger", "clients/go/adaptivecache/cachereport"},
	},
	{
		Folder: "clients/portal", Purpose: "the portal's page, as it was built",
	},
	{
		Folder: "clients/go/verify", Purpose: "the Go SDK for offline verification: one configuration, one report",
		Imports: []string{"verifiers", "ledger/entry", "ledger/receipt", "internal"},
	},
	{
		Folder: "clients/go/adaptivecache", Purpose: "a cache that any room may use",
	},
	{
		Folder: "clients/go/adaptivecache/cachereport", Purpose: "records what caches do in a ledger",
		Imports: []string{"clients/go", "internal"},
		ByName:  true,
	},
	{
		Folder: "verifiers", Purpose: "one package per evidence format, and `format`, their registry",
		Imports: []string{"ledger/entry", "ledger/receipt", "internal"},
	},
	{
		Folder: "ledger", Purpose: "the sequencer, the tree, proofs, search, and the check of a whole store",
		Imports: []string{"ledger/entry", "ledger/receipt", "ledger/store", "ledger/delta", "internal"},
		Tests:   []string{"ledger/store/storetest", "ledger/pebblestore", "ledger/engine"},
	},
	{
		Folder: "ledger/engine", Purpose: "opens stores by URL, through the only list of storage engines",
		Imports: []string{"ledger/pebblestore", "ledger/pgstore", "ledger/store/memstore", "ledger/store", "ledger/entry", "ledger/receipt", "internal"},
		Tests:   []string{"ledger/store/storetest"},
		ByName:  true,
	},
	{
		Folder: "ledger/pebblestore", Purpose: "the storage engine for one disk",
		Imports: []string{"ledger/store", "ledger/mark", "ledger/entry", "ledger/receipt", "internal/owner"},
		Tests:   []string{"ledger/store/storetest"},
		ByName:  true,
	},
	{
		Folder: "ledger/pgstore", Purpose: "the storage engine for several servers, in PostgreSQL",
		Imports: []string{"ledger/store", "ledger/mark", "ledger/objects", "ledger/entry", "ledger/receipt", "internal/crash", "internal/owner"},
		Tests:   []string{"ledger/store/storetest", "internal/seal"},
		ByName:  true,
	},
	{
		Folder: "ledger/objects", Purpose: "bytes in a bucket of an object storage",
		Imports: []string{"ledger/store"},
		ByName:  true,
	},
	{
		Folder: "ledger/offload", Purpose: "keeps a copy of a log's checkpoint and tiles in a bucket, and reads it",
		Imports: []string{"ledger", "ledger/objects", "internal"},
	},
	{
		Folder: "ledger/mark", Purpose: "the file of the publish mark, for every engine",
		Imports: []string{"ledger/store", "internal"},
	},
	{
		Folder:  "ledger/commitmodel",
		Purpose: "a model of servers that commit to one engine, whose tests visit every state",
		ByName:  true,
	},
	{
		Folder: "ledger/store/storetest", Purpose: "the contract of storage engines, as a program",
		Imports: []string{"ledger/store", "ledger/entry", "ledger/receipt", "internal/soak"},
		ByName:  true,
	},
	{
		Folder: "ledger/store/memstore", Purpose: "a storage engine in memory, for tests",
		Imports: []string{"ledger/store", "ledger/entry", "ledger/receipt"},
		Tests:   []string{"ledger/store/storetest"},
		ByName:  true,
	},
	{
		Folder: "ledger/store", Purpose: "the contract of storage engines",
		Imports: []string{"ledger/entry", "ledger/receipt"},
	},
	{
		Folder: "ledger/witness", Purpose: "collects cosignatures, and cosigns the checkpoints of other logs",
		Imports: []string{"ledger/entry", "ledger/receipt", "internal"},
		Tests:   []string{"ledger"},
	},
	{
		Folder: "ledger/lease", Purpose: "elects the server that commits, among those that share a log",
		Imports: []string{"ledger/store", "internal"},
	},
	{
		Folder: "ledger/anchor", Purpose: "copies of the latest checkpoint outside of the data folder",
		Imports: []string{"ledger/entry", "ledger/receipt", "internal"},
	},
	{
		Folder: "ledger/cosereceipt", Purpose: "COSE receipts for SCITT statements",
		Imports: []string{"ledger/entry", "ledger/receipt", "internal"},
	},
	{
		Folder: "ledger/delta", Purpose: "the file that carries a log to a machine without a network",
		Imports: []string{"ledger/entry", "ledger/receipt"},
	},
	{
		Folder: "ledger/logkey", Purpose: "opens the keys that sign checkpoints",
		Imports: []string{"internal"},
	},
	{
		Folder: "ledger/receipt", Purpose: "receipts, proofs and trust policies, and their offline verification",
		Imports: []string{"ledger/entry", "internal/charset"},
	},
	{
		Folder: "ledger/entry", Purpose: "the vocabulary of entries: hashes, salts, headers, digests",
	},
	{
		Folder: "proto", Purpose: "the API, the table of entry kinds, and code generated from both",
	},
	{
		Folder: "internal", Purpose: "small pieces that several rooms share",
		Tests: []string{"proto"},
	},
	{
		Folder: "internal/soak", Purpose: "the length of seeded test campaigns",
		ByName: true,
	},
}

// otherFolders lists the folders at the root of the repository that contain no
// room: those in git, then those in .gitignore. Names with a leading dot
// are not checked.
var otherFolders = []string{"deploy", "docs", "bin", "data", "demo-data", "demo-backfill-data", "receipts", "replica"}

// A Restriction limits who may call a function.
type Restriction struct {
	// a folder of the module, or a package of the standard library, and a
	// function or type in it
	Package, Func string
	Callers       map[string]int // package to its maximum number of references
	Instead       string
}

// Restrictions is the table of functions with a closed list of callers. Tests
// may call them.
var Restrictions = []Restriction{{
	Package: "ledger/entry", Func: "ParseHeader",
	Callers: map[string]int{
		"ledger":                         3, // reading an opening, fsck, import
		"ledger/receipt":                 1,
		"ledger/cosereceipt":             1,
		"clients/go":                     1,
		"verifiers/bundle":               1,
		"cmd/muniment/internal/decide":   1,
		"cmd/muniment/internal/evidence": 1,
	},
	Instead: "use the parsed header of ledger.Entry or receipt.Verified",
}, {
	Package: "net/http", Func: "Server",
	Callers: map[string]int{"internal/edge": 3},
	Instead: listeners,
}, {
	Package: "net", Func: "Listen",
	Callers: map[string]int{"internal/edge": 1, "bench": 1, "internal/peers": 1, "internal/peers/link": 1, "internal/peers/noderig": 1, "internal/peers/witnessrig": 1},
	Instead: listeners,
}, {
	Package: "net", Func: "ListenTCP", Instead: listeners,
}, {
	Package: "net", Func: "ListenConfig", Instead: listeners,
}, {
	Package: "net/http", Func: "Serve", Instead: listeners,
}, {
	Package: "net/http", Func: "ServeTLS", Instead: listeners,
}, {
	Package: "net/http", Func: "ListenAndServe", Instead: listeners,
}, {
	Package: "net/http", Func: "ListenAndServeTLS", Instead: listeners,
}}

const listeners = "edge.Listen is the only way to serve HTTP: it bounds connections, headers and times, and checks hosts and origins"

// A Weight lists modules that a room must not link, directly or indirectly.
type Weight struct {
	Room  string
	Never []string // prefixes of import paths
	But   []string // prefixes of those that are allowed nonetheless
}

// servers lists modules of servers, storage engines, RPC and telemetry.
var servers = []string{
	"github.com/cockroachdb/", "connectrpc.com/", "go.opentelemetry.io/", "github.com/sigstore/",
	"github.com/prometheus/", "google.golang.org/", "buf.build/", "github.com/maypok86/",
	"github.com/in-toto/", "github.com/secure-systems-lab/", "cel.dev/", "github.com/google/cel-go",
}

// Weights keeps the offline verifier small: verifying a receipt needs no server
// code. It also keeps the conductor apart: it is a customer of the ledger, and
// the ledger's program does not contain it.
var Weights = []Weight{
	{Room: "ledger/entry", Never: servers},
	{Room: "ledger/receipt", Never: servers},
	{Room: "ledger/store", Never: servers},
	{Room: "clients/go/audit", Never: servers},
	{Room: "clients/go/verify", Never: []string{"github.com/cockroachdb/", "connectrpc.com/", "github.com/prometheus/", "buf.build/", "github.com/maypok86/", "cel.dev/", "github.com/google/cel-go", module + "api", module + "controls", module + "ingest", module + "proto"}},
	{Room: "conductor/...", Never: []string{module + "api", module + "controls", module + "ingest", module + "ledger", module + "verifiers"}, But: []string{module + "ledger/entry", module + "ledger/receipt"}},
	{Room: "cmd/muniment", Never: []string{module + "conductor"}},
}
