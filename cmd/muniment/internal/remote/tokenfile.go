package remote

import (
	"bytes"
	"errors"
	"os"
	"strings"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/charset"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/receipt"
)

// ReadLedgerToken reads a tenant's token from a file. Errors name the path and
// contain no text of the file.
func ReadLedgerToken(path string) (string, error) {
	token, err := ReadBearer(path)
	if err != nil {
		return "", err
	}
	return token, in(path, checkLedgerToken(token))
}

// ReadBearer reads a token of any form from a file.
func ReadBearer(path string) (string, error) {
	data, err := bounded.ReadSecret(path)
	if err != nil {
		return "", err
	}
	token, err := parseBearer(data)
	return token, in(path, err)
}

func in(path string, err error) error {
	if err == nil {
		return nil
	}
	return errors.New(path + ": " + plain.FileErrors(err))
}

// environmentToken returns the token in MUNIMENT_TOKEN.
func environmentToken() (string, error) {
	const name = "MUNIMENT_TOKEN"
	text := os.Getenv(name)
	if text == "" {
		return "", errors.New("no token: give --token-file FILE, set MUNIMENT_TOKEN, or in a CI job give --identity-token auto")
	}
	token, err := parseBearer([]byte(text))
	if err == nil {
		err = checkLedgerToken(token)
	}
	return token, in(name, err)
}

// parseBearer returns the token in the text, without the white space around it.
func parseBearer(text []byte) (string, error) {
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", errors.New("no token: it is empty")
	}
	if cause := charset.Explain(text); cause != "" {
		return "", errors.New("not a token: " + cause)
	}
	if kind := datadir.SecretKind(text); kind == "a private key" {
		return "", errors.New("not a token: it is " + kind)
	}
	if bytes.Contains(text, []byte("-----BEGIN ")) {
		return "", errors.New("not a token: it is a PEM file, such as a certificate or public key")
	}
	if _, err := receipt.ParseTrustPolicy("", text); err == nil {
		return "", errors.New("not a token: it is a policy")
	}
	if strings.ContainsAny(token, " \t\r\n") {
		return "", errors.New("not a token: it contains white space: the file must contain only the token, on one line")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("not a token: it contains characters other than printable ASCII")
	}
	return token, nil
}

// checkLedgerToken returns an error unless the token is a tenant's. The error
// names other kinds of secrets.
func checkLedgerToken(token string) error {
	kind := datadir.SecretKind([]byte(token))
	switch {
	case kind == "a token":
		return nil
	case kind != "":
		return errors.New("not a tenant's token: it is " + kind)
	case strings.HasPrefix(token, "eyJ"):
		return errors.New("not a tenant's token: it is an identity token: give it with --identity-token")
	}
	return errors.New("not a tenant's token: these begin with " + muniment.TokenPrefix)
}
