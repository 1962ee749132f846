package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// parsePolicy parses a policy file for verifiers. A secret that is given in its
// place is named as what it is, and no part of it gets into the error.
func parsePolicy(path string, text []byte) (*receipt.TrustPolicy, error) {
	if kind := secretKind(text); kind != "" {
		return nil, fmt.Errorf("policy %s: it is %s: give the file with the log's public keys", path, kind)
	}
	p, err := receipt.ParseTrustPolicy(path, text)
	if err != nil && quotes(err.Error(), path, text) {
		return nil, fmt.Errorf("policy %s: not a policy: see https://c2sp.org/tlog-policy", path)
	}
	return p, err
}

// secretKind names the secret that the text holds, or returns "".
func secretKind(text []byte) string {
	word := bytes.TrimSpace(text)
	switch {
	case bytes.Contains(text, []byte("PRIVATE+KEY+")), bytes.Contains(text, []byte("PRIVATE KEY-----")), bytes.Contains(text, []byte("AGE-SECRET-KEY-")):
		return "a private key"
	case bytes.HasPrefix(word, []byte(muniment.TokenPrefix)):
		return "a token"
	case bytes.HasPrefix(word, []byte(operatorPrefix)):
		return "an operator's token"
	}
	if raw, err := hex.DecodeString(string(word)); err == nil && len(raw) == entry.HashSize {
		return "a stream key"
	}
	return ""
}

// quotes reports whether a message has a word of the text that is long enough
// for a secret.
func quotes(message, path string, text []byte) bool {
	message = strings.ReplaceAll(message, path, "")
	for word := range strings.FieldsSeq(string(text)) {
		if len(word) >= 20 && strings.Contains(message, word) {
			return true
		}
	}
	return false
}
