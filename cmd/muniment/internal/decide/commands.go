// Package decide implements the commands that decide from evidence.
package decide

// Commands are the commands of this group.
type Commands struct {
	Baseline   baselineCmd   `cmd:"" group:"decide" help:"Check, explain or enforce the list of allowed base images."`
	Control    controlCmd    `cmd:"" group:"decide" help:"Write, validate, apply or show controls, which decide what may ship."`
	Coverage   coverageCmd   `cmd:"" group:"decide" help:"Show which share of what exists and runs is attested, and what is not."`
	Exception  exceptionCmd  `cmd:"" group:"decide" help:"Request, approve and list exceptions from controls."`
	FetchChart fetchChartCmd `cmd:"" group:"decide" help:"Download a chart if it passes the gate."`
	Finding    findingCmd    `cmd:"" group:"decide" help:"Record findings, and follow them to their resolution."`
	Gate       gateCmd       `cmd:"" group:"decide" help:"Decide whether artifacts may pass a stage."`
	Inventory  inventoryCmd  `cmd:"" group:"decide" help:"Record what exists and runs, and decide about it again."`
	Policy     policyCmd     `cmd:"" group:"decide" help:"Test, lint, set or print admission policies, which decide what evidence is recorded."`
	Signer     signerCmd     `cmd:"" group:"decide" help:"Register, retire and list signers' keys, mark them as compromised, or print their IDs."`
	Spool      spoolCmd      `cmd:"" group:"decide" help:"Submit decisions that gates have made offline."`
	Trace      traceCmd      `cmd:"" group:"decide" help:"Show all evidence on an artifact as a tree."`
	Why        whyCmd        `cmd:"" group:"decide" help:"Explain at which stages artifacts would pass now, and what is missing."`
	Bundle     bundleCmd     `cmd:"" group:"decide" help:"Write, show or verify evidence bundles, which auditors verify with no network."`
}
