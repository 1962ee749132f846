package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Flags are the flags of commands that call a ledger: its address, and the
// caller's credentials.
type Flags struct {
	Server string `help:"URL of the ledger." placeholder:"URL" env:"MUNIMENT_SERVER" default:"http://127.0.0.1:7480"`
	Credentials
}

// Credentials are the flags with the caller's credentials, and the authorities
// of the server.
type Credentials struct {
	TokenFile     string `help:"File with the tenant's token. The token itself can be given in MUNIMENT_TOKEN." placeholder:"FILE" env:"MUNIMENT_TOKEN_FILE" predictor:"file"`
	IdentityToken string `help:"Authenticate with an OIDC identity token instead of a stored secret: 'auto' in a GitHub Actions or GitLab CI job, 'env' for the token in MUNIMENT_ID_TOKEN, or a file. Requires --tenant." placeholder:"FILE|env|auto" env:"MUNIMENT_IDENTITY_TOKEN"`
	Audience      string `help:"With --identity-token auto: the token's audience. Default: the server's URL without its path." placeholder:"TEXT" env:"MUNIMENT_AUDIENCE"`
	ClientCert    string `help:"Client certificate in PEM, in place of a token. Requires --tenant." placeholder:"FILE" env:"MUNIMENT_CLIENT_CERT" predictor:"file"`
	ClientKey     string `help:"Key of the client certificate, in PEM." placeholder:"FILE" env:"MUNIMENT_CLIENT_KEY" predictor:"file"`
	CA            string `help:"Certificates of the authorities to verify the server's certificate with, in PEM. Default: the system's." name:"ca" placeholder:"FILE" env:"MUNIMENT_CA" predictor:"file"`
	Tenant        string `help:"Tenant to act for. Default: the token's tenant." env:"MUNIMENT_TENANT"`
}

// Files returns the files with credentials and authorities. A file with an
// identity token is not one of them: it is read for each exchange.
func (f *Credentials) Files() []string {
	return []string{f.TokenFile, f.ClientCert, f.ClientKey, f.CA}
}

// Client returns a client with the credentials in the flags, or else in
// MUNIMENT_TOKEN. policy and key may be nil.
func (f *Flags) Client(policy *receipt.TrustPolicy, key *entry.StreamKey) (*muniment.Client, error) {
	return f.Connect(muniment.Options{Policy: policy, StreamKey: key})
}

// Connect is Client for further options.
func (f *Flags) Connect(o muniment.Options) (*muniment.Client, error) {
	o.Server, o.Tenant, o.UserAgent = f.Server, f.Tenant, "muniment-cli"
	if err := f.UseTLS(&o); err != nil {
		return nil, err
	}
	var err error
	switch {
	case f.IdentityToken != "":
		o.Identity, err = f.identity()
	case f.ClientCert == "":
		o.Token, err = f.token()
	}
	if err != nil {
		return nil, err
	}
	c, err := muniment.New(o)
	if err != nil {
		return nil, fmt.Errorf("--%w", err) // it begins with "server: "
	}
	if c.Tenant == "" {
		return nil, errors.New("no tenant specified: give --tenant NAME, or set MUNIMENT_TENANT")
	}
	return c, nil
}

func (f *Flags) token() (string, error) {
	if f.TokenFile == "" {
		return environmentToken()
	}
	token, err := ReadLedgerToken(f.TokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return token, nil
}

// identity returns the source of identity tokens that --identity-token names.
func (f *Flags) identity() (func(context.Context) (string, error), error) {
	switch f.IdentityToken {
	case "auto":
		audience := f.Audience
		if audience == "" {
			u, err := url.Parse(f.Server)
			if err != nil {
				return nil, fmt.Errorf("--server: %q is not a URL", f.Server)
			}
			audience = u.Scheme + "://" + u.Host
		}
		return muniment.JobIdentity(audience, nil), nil
	case "env":
		return func(context.Context) (string, error) {
			if t := strings.TrimSpace(os.Getenv(muniment.IDTokenVariable)); t != "" {
				return t, nil
			}
			return "", fmt.Errorf("--identity-token env: %s is not set", muniment.IDTokenVariable)
		}, nil
	}
	// read each time, because clusters replace the file
	return func(context.Context) (string, error) {
		data, err := bounded.ReadSecret(f.IdentityToken)
		if err != nil {
			return "", fmt.Errorf("--identity-token: %w", err)
		}
		return strings.TrimSpace(string(data)), nil
	}, nil
}

// UseTLS sets an HTTP client with the client certificate and the authorities in
// the flags.
func (f *Credentials) UseTLS(o *muniment.Options) error {
	if f.ClientCert == "" && f.ClientKey == "" && f.CA == "" {
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ClientCert != "" || f.ClientKey != "" {
		pair, err := f.clientCertificate()
		if err != nil {
			return err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if f.CA != "" {
		var err error
		if config.RootCAs, err = datadir.ReadCertificates(f.CA); err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	o.HTTPClient = &http.Client{Transport: transport}
	return nil
}

// OriginOf returns the origin of the log of a server.
func OriginOf(ctx context.Context, client *muniment.Client) (string, error) {
	res, err := client.GetCheckpoint(ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{}))
	if err != nil {
		return "", err
	}
	c, err := receipt.ParseCheckpointUnverified(res.Msg.Checkpoint)
	return c.Origin, err
}

// clientCertificate reads the client certificate and its key.
func (f *Credentials) clientCertificate() (tls.Certificate, error) {
	var none tls.Certificate
	switch {
	case f.ClientCert == "":
		return none, errors.New("--client-key: requires --client-cert")
	case f.ClientKey == "":
		return none, errors.New("--client-cert: requires --client-key")
	}
	return ReadKeyPair("--client-cert", f.ClientCert, "--client-key", f.ClientKey)
}

// ReadKeyPair reads a certificate and its key from the files of two flags.
func ReadKeyPair(certFlag, certFile, keyFlag, keyFile string) (tls.Certificate, error) {
	var none tls.Certificate
	cert, err := bounded.ReadFile(certFile, bounded.Config)
	if err != nil {
		return none, fmt.Errorf("%s: %w", certFlag, err)
	}
	key, err := bounded.ReadSecret(keyFile)
	if err != nil {
		return none, fmt.Errorf("%s: %w", keyFlag, err)
	}
	pair, err := pemfile.KeyPair(cert, key)
	if err != nil {
		return none, fmt.Errorf("%s, %s: %w", certFlag, keyFlag, err)
	}
	return pair, nil
}
