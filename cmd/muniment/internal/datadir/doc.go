// Package datadir reads and edits data folders: configuration, keys, trust
// policies, trusted roots and stores.
package datadir
