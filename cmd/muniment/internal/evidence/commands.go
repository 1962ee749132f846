// Package evidence implements the commands that record, find, transfer and
// erase evidence.
package evidence

import "muniment.dev/muniment/ingest"

// Commands are the commands of this group.
type Commands struct {
	Append     appendCmd     `cmd:"" group:"evidence" help:"Record evidence and keep its receipts."`
	Get        getCmd        `cmd:"" group:"evidence" help:"Show an entry, or write its payload."`
	List       listCmd       `cmd:"" group:"evidence" help:"Search the tenant's entries."`
	Watch      watchCmd      `cmd:"" group:"evidence" help:"Follow the tenant's entries as they are published."`
	Receipt    receiptGroup  `cmd:"" group:"evidence" help:"Fetch an entry's receipt, or refresh receipts that you hold."`
	Checkpoint checkpointCmd `cmd:"" group:"evidence" help:"Print the log's latest signed checkpoint."`
	Erase      eraseCmd      `cmd:"" group:"evidence" help:"Erase an entry's evidence permanently; its proofs stay valid."`
	Retention  retentionCmd  `cmd:"" group:"evidence" help:"Set, show or apply a tenant's retention rules."`
	Hold       holdCmd       `cmd:"" group:"evidence" help:"Place, release or list legal holds."`
	Export     exportCmd     `cmd:"" group:"evidence" help:"Export new entries and a tenant's evidence to a signed file."`
	Import     importCmd     `cmd:"" group:"evidence" help:"Verify an exported file and import it into a replica."`
	SCITT      scittCmd      `cmd:"" name:"scitt" group:"evidence" help:"Sign, register and verify SCITT statements with COSE receipts."`
}

// KindNames returns the names of the kinds of evidence.
func KindNames() []string { return ingest.Kinds() }
