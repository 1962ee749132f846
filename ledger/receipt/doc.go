// Package receipt implements the entry and receipt formats and their offline
// verification: bytes in, verdict out.
//
// It does no I/O, reads no clock and needs no storage engine and no network.
// The formats are specified in docs/spec/entry.md and docs/spec/receipt.md.
// They build on C2SP [tlog-proof], [tlog-checkpoint], [signed-note] and
// [tlog-policy], and on the Merkle tree of RFC 6962.
//
// Entries are made by package ingest, and sequenced by package ledger.
//
// [tlog-proof]: https://c2sp.org/tlog-proof
// [tlog-checkpoint]: https://c2sp.org/tlog-checkpoint
// [signed-note]: https://c2sp.org/signed-note
// [tlog-policy]: https://c2sp.org/tlog-policy
package receipt
