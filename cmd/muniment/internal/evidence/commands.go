// Package evidence has the commands that record, find, carry and erase
// evidence.
package evidence

// Commands are the commands that record, find and erase evidence.
type Commands struct {
	Append     appendCmd     `cmd:"" group:"evidence" help:"Record evidence and keep its receipts."`
	Get        getCmd        `cmd:"" group:"evidence" help:"Show an entry, or write its payload."`
	List       listCmd       `cmd:"" group:"evidence" help:"Search the tenant's entries."`
	Watch      watchCmd      `cmd:"" group:"evidence" help:"Follow the tenant's entries as they are published."`
	Receipt    receiptGroup  `cmd:"" group:"evidence" help:"Fetch the receipt of an entry, or refresh receipts under the log's current key."`
	Checkpoint checkpointCmd `cmd:"" group:"evidence" help:"Print the log's latest signed checkpoint."`
	Erase      eraseCmd      `cmd:"" group:"evidence" help:"Erase an entry's evidence for good; the entry and its proofs stay."`
	Retention  retentionCmd  `cmd:"" group:"evidence" help:"Set, show or apply a tenant's retention rules."`
	Hold       holdCmd       `cmd:"" group:"evidence" help:"Place, release or list legal holds."`
	Export     exportCmd     `cmd:"" group:"evidence" help:"Write the log's growth and a tenant's evidence to one signed file."`
	Import     importCmd     `cmd:"" group:"evidence" help:"Verify an exported file, and add it to a replica."`
	SCITT      scittCmd      `cmd:"" name:"scitt" group:"evidence" help:"Sign, register and verify SCITT statements with COSE receipts."`
}
