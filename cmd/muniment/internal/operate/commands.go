// Package operate contains the commands that run servers, witnesses, mirrors
// and monitors, and maintain their folders.
package operate

// Commands is the group of commands that operate a log.
type Commands struct {
	Init      initCmd      `cmd:"" unix:"" group:"operate" help:"Create a data folder: configuration, log key, trust policy, and a tenant with token and stream key."`
	Serve     serveCmd     `cmd:"" group:"operate" help:"Run the server on a data folder."`
	Reload    reloadCmd    `cmd:"" group:"operate" help:"Apply a changed configuration without a restart."`
	Tenant    tenantCmd    `cmd:"" group:"operate" help:"Add, suspend, resume, remove or list the tenants of a data folder."`
	Operator  operatorCmd  `cmd:"" group:"operate" help:"Add, remove or list the operators, who read metrics and health details."`
	Token     tokenCmd     `cmd:"" group:"operate" help:"Issue, revoke or list a tenant's tokens."`
	Whoami    whoamiCmd    `cmd:"" group:"operate" help:"Show the tenant, role and expiry of your credentials."`
	Trust     trustCmd     `cmd:"" group:"operate" help:"Manage the log's trust policies: its keys and witnesses, for verifiers."`
	Keys      keysCmd      `cmd:"" group:"operate" help:"Rotate and retire the keys that sign the log."`
	Backup    backupCmd    `cmd:"" group:"operate" help:"Back up a data folder, also while its server runs."`
	Restore   restoreCmd   `cmd:"" group:"operate" help:"Restore a data folder from a verified backup."`
	Fsck      fsckCmd      `cmd:"" group:"operate" help:"Check the whole store, and list the damage."`
	Reindex   reindexCmd   `cmd:"" group:"operate" help:"Compare search index and deduplication keys with the log, and rebuild them."`
	Store     storeCmd     `cmd:"" group:"operate" help:"Move a log to another storage engine."`
	Replica   replicaCmd   `cmd:"" unix:"" group:"operate" help:"Create the data folder of a replica, for a machine without a network."`
	Admission admissionCmd `cmd:"" unix:"" group:"operate" help:"Answer the admission webhooks of a Kubernetes cluster, and record the use of break-glass in it."`
	Witness   witnessCmd   `cmd:"" unix:"" group:"operate" help:"Run a witness, which cosigns the checkpoints of other logs."`
	Mirror    mirrorCmd    `cmd:"" group:"operate" help:"Keep a verified copy of a log, and serve it."`
	Monitor   monitorCmd   `cmd:"" group:"operate" help:"Follow logs, and raise alerts: forks, stalls, unexpected entries."`
}
