// Package remote connects commands to a server: flags, credentials, and the
// remedies for failures to reach it.
package remote
