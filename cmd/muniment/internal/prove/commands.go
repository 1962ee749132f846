// Package prove has the commands that verify evidence, receipts and logs.
package prove

// Commands are the commands that verify evidence, receipts and logs.
type Commands struct {
	Verify          verifyCmd          `cmd:"" group:"prove" help:"Verify receipts offline."`
	VerifyBundle    verifyBundleCmd    `cmd:"" group:"prove" help:"Verify a Sigstore bundle of an artifact offline."`
	VerifyImage     verifyImageCmd     `cmd:"" group:"prove" help:"Verify the evidence attached to an image or chart in a registry."`
	VerifyChart     verifyChartCmd     `cmd:"" group:"prove" help:"Verify the provenance of a Helm chart."`
	VerifyEnvelope  verifyEnvelopeCmd  `cmd:"" group:"prove" help:"Verify a DSSE envelope that was signed with raw keys offline."`
	VerifyStatement verifyStatementCmd `cmd:"" group:"prove" help:"Check the structure of an unsigned in-toto statement."`
	Prove           proveCmd           `cmd:"" group:"prove" help:"Write the bare C2SP tlog-proof of an entry or receipt."`
	Audit           auditCmd           `cmd:"" group:"prove" help:"Check that a log never rewrote, truncated or forked, and that a stream is complete."`
	TrustedRoot     trustedRootCmd     `cmd:"" group:"prove" help:"Show, update or export Sigstore trusted roots."`
	SigningConfig   signingConfigCmd   `cmd:"" group:"prove" help:"Write the file that makes cosign sign with a Rekor log of this program."`
}
