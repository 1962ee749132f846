// Package bundle reads and verifies evidence bundles, which are specified in
// docs/spec/bundle.md.
//
// It needs neither a network nor code of the server. Package controls/bundle
// creates bundles.
package bundle

import (
	"fmt"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/ledger/entry"
)

// The media types of a bundle, of its manifest, and of the account of its
// reports.
const (
	MediaType         = "application/vnd.muniment.evidence-bundle.v1+tar"
	ManifestMediaType = "application/vnd.muniment.evidence-bundle.v1+json"
	AccountMediaType  = "application/vnd.muniment.bundle-account.v1+json"
)

// PredicateType is the type of statements about bundles.
const PredicateType = "https://muniment.dev/evidence-bundle/v1"

// SignatureSuffix is added to the name of a bundle for that of its signature.
const SignatureSuffix = ".sigstore.json"

// The names of single members.
const (
	ManifestName   = "manifest.json"
	IndexName      = "index.html"
	CheckpointName = "log/checkpoint"
	PolicyName     = "log/policy"
)

const (
	logFolder        = "log/"
	entriesFolder    = "entries/"
	evidenceFolder   = "evidence/"
	assessmentFolder = "assessment/"

	receiptSuffix = ".receipt.json"
	entriesSuffix = ".jsonl"
)

// Limits of the format.
const (
	MaxMembers        = 500_000
	MaxMemberSize     = 1<<33 - 1 // bytes
	MaxManifestSize   = 64 << 20  // bytes
	MaxManifestValues = 3 << 20   // of JSON, five for each member
	MaxArtifacts      = 10_000

	// EntriesSize is the number of bytes with which a member with records ends.
	EntriesSize   = 1 << 20
	maxRecordLine = 8 << 20 // bytes
)

// A Role is the purpose of a member.
type Role string

// The roles of members.
const (
	RoleReport     Role = "report"
	RoleEntries    Role = "entries"
	RolePayload    Role = "payload"
	RoleReceipt    Role = "receipt"
	RoleCheckpoint Role = "checkpoint"
	RolePolicy     Role = "policy"
	RoleTile       Role = "tile"
)

// AssessmentName returns the name of a document for machines.
func AssessmentName(file string) string { return assessmentFolder + file }

// EntriesName returns the name of the member whose first record is that of the
// entry.
func EntriesName(first uint64) string {
	return fmt.Sprintf("%s%016d%s", entriesFolder, first, entriesSuffix)
}

// ReceiptName returns the name of an entry's receipt.
func ReceiptName(index uint64) string {
	return fmt.Sprintf("%s%016d%s", evidenceFolder, index, receiptSuffix)
}

// PayloadName returns the name of an entry's payload with a media type.
func PayloadName(index uint64, mediaType string) string {
	name := fmt.Sprintf("%s%016d.payload", evidenceFolder, index)
	base, _, _ := strings.Cut(mediaType, ";")
	if base = strings.Trim(base, " \t"); base == "application/json" || strings.HasSuffix(base, "+json") {
		name += ".json"
	}
	return name
}

// roleOf returns the role of a member by its name, or "" if no member has the
// name.
func roleOf(name string) Role {
	switch name {
	case CheckpointName:
		return RoleCheckpoint
	case PolicyName:
		return RolePolicy
	case IndexName:
		return RoleReport
	}
	digits := func(folder, suffix string) bool {
		rest, ok := strings.CutPrefix(name, folder)
		rest, has := strings.CutSuffix(rest, suffix)
		return ok && has && len(rest) == 16 && strings.Trim(rest, "0123456789") == ""
	}
	switch {
	case strings.HasPrefix(name, logFolder+"tile/"):
		return RoleTile
	case digits(entriesFolder, entriesSuffix):
		return RoleEntries
	case digits(evidenceFolder, receiptSuffix):
		return RoleReceipt
	case digits(evidenceFolder, ".payload"), digits(evidenceFolder, ".payload.json"):
		return RolePayload
	}
	if file, ok := strings.CutPrefix(name, assessmentFolder); ok && !strings.Contains(file, "/") {
		return RoleReport
	}
	return ""
}

// tileWidth is the number of hashes of a full tile.
const tileWidth = 256

// leafSize is the size of a leaf in an entry bundle: its length and its data.
const leafSize = 2 + entry.LeafSize

// A Tile is a tile, or an entry bundle at level −1.
type Tile struct {
	Level int
	Index uint64
	Width int
}

// Name returns the name of the tile's member.
func (t Tile) Name() string {
	return logFolder + torchwood.TilePath(tlog.Tile{H: 8, L: t.Level, N: int64(t.Index), W: t.Width})
}

// Size returns the size of the tile in bytes.
func (t Tile) Size() int64 {
	if t.Level < 0 {
		return int64(t.Width) * leafSize
	}
	return int64(t.Width) * entry.HashSize
}

// Tiles calls visit with each tile of the tree of a size, until it returns
// false: the entry bundles, and then the levels in ascending order.
func Tiles(size uint64, visit func(Tile) bool) {
	level := func(level int, nodes uint64) bool {
		for i := range nodes / tileWidth {
			if !visit(Tile{level, i, tileWidth}) {
				return false
			}
		}
		if rest := nodes % tileWidth; rest > 0 {
			return visit(Tile{level, nodes / tileWidth, int(rest)})
		}
		return true
	}
	if !level(-1, size) {
		return
	}
	for l, nodes := 0, size; nodes > 0; l, nodes = l+1, nodes/tileWidth {
		if !level(l, nodes) {
			return
		}
	}
}
