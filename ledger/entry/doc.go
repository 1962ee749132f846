// Package entry implements the vocabulary of entries: hashes, salts, stream
// keys, headers and digests.
//
// The formats are specified in docs/spec/entry.md. The Merkle tree is that of
// RFC 6962. The package does no I/O except drawing salts.
package entry
