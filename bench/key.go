package main

import (
	"crypto/rand"

	"golang.org/x/mod/sumdb/note"
)

// tesseraKey returns a fresh note signing key for the peer.
func tesseraKey() string {
	skey, _, err := note.GenerateKey(rand.Reader, "tessera.example")
	check(err)
	return skey
}
