// Package receipt implements receipts and their offline verification.
//
// It does no I/O, reads no clock, and needs neither a storage engine nor a
// network. The formats are specified in docs/spec/receipt.md. They build on the
// entries of package entry, and on C2SP [tlog-proof], [tlog-checkpoint],
// [signed-note] and [tlog-policy].
//
// [tlog-proof]: https://c2sp.org/tlog-proof
// [tlog-checkpoint]: https://c2sp.org/tlog-checkpoint
// [signed-note]: https://c2sp.org/signed-note
// [tlog-policy]: https://c2sp.org/tlog-policy
package receipt
