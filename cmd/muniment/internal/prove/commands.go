// Package prove implements the commands that verify evidence, receipts and
// logs.
package prove

// Commands are the commands of this group.
type Commands struct {
	Verify          verifyCmd          `cmd:"" group:"prove" help:"Verify receipts offline."`
	VerifyBundle    verifyBundleCmd    `cmd:"" group:"prove" help:"Verify an artifact's Sigstore bundle offline."`
	VerifyImage     verifyImageCmd     `cmd:"" group:"prove" help:"Verify the evidence attached to an image or chart in a registry."`
	VerifyChart     verifyChartCmd     `cmd:"" group:"prove" help:"Verify the provenance of a Helm chart."`
	VerifyEnvelope  verifyEnvelopeCmd  `cmd:"" group:"prove" help:"Verify a DSSE envelope offline by public keys."`
	VerifyStatement verifyStatementCmd `cmd:"" group:"prove" help:"Check the structure of an unsigned in-toto statement."`
	ExportManifest  exportManifestCmd  `cmd:"" group:"prove" help:"Describe, sign, release or verify exports of data with their proofs."`
	Prove           proveCmd           `cmd:"" group:"prove" help:"Write the bare C2SP tlog-proof of an entry or receipt."`
	Audit           auditCmd           `cmd:"" group:"prove" help:"Check that a log was never rewritten, truncated or forked, and that a stream is complete."`
	TrustedRoot     trustedRootCmd     `cmd:"" group:"prove" help:"Show, update or export Sigstore trusted roots."`
	SigningConfig   signingConfigCmd   `cmd:"" group:"prove" help:"Write the file with which cosign signs using a Rekor log of this program."`
}
