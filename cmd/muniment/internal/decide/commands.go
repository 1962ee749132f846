// Package decide implements the commands that decide from evidence.
package decide

// Commands are the commands of this group.
type Commands struct {
	Control controlCmd `cmd:"" group:"decide" help:"Write, validate, apply or show controls, which decide what may ship."`
	Policy  policyCmd  `cmd:"" group:"decide" help:"Test, lint, set or print admission policies, which decide what evidence is recorded."`
	Trace   traceCmd   `cmd:"" group:"decide" help:"Show all evidence on an artifact as a tree."`
}
