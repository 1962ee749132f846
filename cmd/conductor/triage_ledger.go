package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/ledger/receipt"
)

// trust returns the options of a client of a ledger, without credentials.
func trust(server, tenant, policy, ca string) (o muniment.Options, err error) {
	o = muniment.Options{Server: server, Tenant: tenant, UserAgent: "muniment-conductor"}
	text, err := bounded.ReadFile(policy, maxPolicy)
	if err != nil {
		return o, fmt.Errorf("--policy: %w", err)
	}
	if o.Policy, err = receipt.ParseTrustPolicy(policy, text); err != nil {
		return o, fmt.Errorf("--policy: %w", err)
	}
	o.HTTPClient, err = httpClient(ca)
	return o, err
}

// httpClient returns a client that trusts the authorities in a file, or those
// of the system without one.
func httpClient(ca string) (*http.Client, error) {
	if ca == "" {
		return &http.Client{}, nil
	}
	pem, err := bounded.ReadFile(ca, maxCertificates)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	roots, err := pemfile.Pool(pem)
	if err != nil {
		return nil, fmt.Errorf("--ca: %s: %w", ca, err)
	}
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}}, nil
}

// token returns the token in a file, or else in MUNIMENT_TOKEN.
func token(file string) (string, error) {
	text := os.Getenv("MUNIMENT_TOKEN")
	if file != "" {
		secret, err := bounded.ReadSecret(file)
		if err != nil {
			return "", fmt.Errorf("--token-file: %w", err)
		}
		text = string(secret)
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", errors.New("no credentials for the ledger: use --token-file or set MUNIMENT_TOKEN")
	}
	return text, nil
}
