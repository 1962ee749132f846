// Package pgstore keeps a log in PostgreSQL, which several servers can share.
// docs/decisions/14-postgresql.md has the reasons and the rules.
package pgstore
