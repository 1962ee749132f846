// Package remote connects commands to servers and registries: flags,
// credentials, and the remedies for failures to reach them.
package remote
