package sigstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry/strictjson"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/intoto"
)

// CheckTrustedRoot returns an error unless the document is one trusted root by
// section 3 of docs/spec/sigstore-verification.md.
func CheckTrustedRoot(document []byte) error {
	if len(document) > MaxTrustedRootSize {
		return fmt.Errorf("more than %d bytes", MaxTrustedRootSize)
	}
	if err := checkRoot(document); err != nil {
		return plain.DecodeError(err)
	}
	_, err := ParseTrustedRoot(document)
	return err
}

// MaxKeySize is the maximum size of a public key's file in bytes.
const MaxKeySize = 64 << 10

// ParsePublicKey reads the PEM form of a key of section 4 of
// docs/spec/sigstore-verification.md. The error contains no text of the file.
func ParsePublicKey(name string, text []byte) (*dsse.Key, error) {
	if strings.Contains(string(text), "PRIVATE KEY") {
		return nil, errors.New("the file is a private key: use the public key")
	}
	k, err := parseKey(name, text)
	if err != nil {
		return nil, fmt.Errorf("not the PEM form of an ECDSA key on P-256, P-384 or P-521, an RSA key of 2048, 3072 or 4096 bits, or an Ed25519 key: %w", plain.DecodeError(err))
	}
	return k, nil
}

var urlForm = regexp.MustCompile(`^(https?)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(/[A-Za-z0-9._~/-]*)?$`)

const maxURL = 2048 // bytes

// NormalURL returns the normal form of a log's URL by section 2 of
// docs/spec/verify.md, and reports whether the URL has such a form.
func NormalURL(url string) (string, bool) {
	parts := urlForm.FindStringSubmatch(url)
	if parts == nil || len(url) > maxURL {
		return "", false
	}
	scheme, host, port, path := parts[1], strings.ToLower(parts[2]), strings.TrimLeft(parts[3], "0"), strings.TrimRight(parts[4], "/")
	switch {
	case parts[3] != "" && port == "":
		port = "0"
	case scheme == "https" && port == "443", scheme == "http" && port == "80":
		port = ""
	}
	if port != "" {
		port = ":" + port
	}
	return scheme + "://" + host + port + path, true
}

// hostOf returns the host of a log's URL without brackets, or "" if the URL is
// of another form.
func hostOf(url string) string {
	parts := urlForm.FindStringSubmatch(url)
	if parts == nil || len(url) > maxURL {
		return ""
	}
	return strings.Trim(parts[2], "[]")
}

// SelectLogs returns a trusted root without the transparency logs whose base
// URL does not have the given normal form, or nil if none is left. The root
// must have passed CheckTrustedRoot.
func SelectLogs(document []byte, normal string) ([]byte, error) {
	tree, err := strictjson.Members(document)
	if err != nil {
		return nil, err
	}
	logs, _ := tree["tlogs"].([]any)
	tree["tlogs"] = slices.DeleteFunc(logs, func(v any) bool {
		log, _ := v.(map[string]any)
		url, _ := log["baseUrl"].(string)
		form, ok := NormalURL(url)
		return !ok || form != normal
	})
	if len(tree["tlogs"].([]any)) == 0 {
		return nil, nil
	}
	return json.Marshal(tree)
}

// StatementClaims returns the predicate type of a statement, and the number of
// its subjects. The error is that the payload is not a statement by section 5
// of docs/spec/sigstore-verification.md.
func StatementClaims(payloadType string, payload []byte) (predicateType string, subjects int, err error) {
	if payloadType != intoto.MediaType {
		return "", 0, errors.New("not a statement")
	}
	all, err := statementSubjects(payload)
	if err != nil {
		return "", 0, err
	}
	var s struct {
		PredicateType string `json:"predicateType"`
	}
	if err := json.Unmarshal(payload, &s); err != nil {
		return "", 0, plain.DecodeError(err)
	}
	return s.PredicateType, len(all), nil
}
