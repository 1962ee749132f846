package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/schollz/progressbar/v3"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// serverFlags say which ledger to speak to, and as whom.
type serverFlags struct {
	Server        string `help:"URL of the ledger." placeholder:"URL" env:"MUNIMENT_SERVER" default:"http://127.0.0.1:7480"`
	TokenFile     string `help:"File with the tenant's token. Or put the token itself into MUNIMENT_TOKEN." placeholder:"FILE" env:"MUNIMENT_TOKEN_FILE" predictor:"file"`
	IdentityToken string `help:"Use no stored secret but an OIDC identity token: 'auto' in a GitHub Actions or GitLab CI job, 'env' for the one in MUNIMENT_ID_TOKEN, or a file. Needs --tenant." placeholder:"FILE|env|auto" env:"MUNIMENT_IDENTITY_TOKEN"`
	Audience      string `help:"With --identity-token auto: whom the token is for. Default: the server's URL without its path." placeholder:"TEXT" env:"MUNIMENT_AUDIENCE"`
	ClientCert    string `help:"Client certificate, in PEM, to show in place of a token. Needs --tenant." placeholder:"FILE" env:"MUNIMENT_CLIENT_CERT" predictor:"file"`
	ClientKey     string `help:"Its key, in PEM." placeholder:"FILE" env:"MUNIMENT_CLIENT_KEY" predictor:"file"`
	CA            string `help:"Certificates of the authorities that the server's own is checked against, in PEM. Default: the system's." name:"ca" placeholder:"FILE" env:"MUNIMENT_CA" predictor:"file"`
	Tenant        string `help:"Tenant to act for. Default: the one that the token names." env:"MUNIMENT_TENANT"`
}

// client connects with what the flags and the environment say. A flag goes
// before MUNIMENT_TOKEN.
func (f *serverFlags) client(policy *receipt.TrustPolicy, key *entry.StreamKey) (*muniment.Client, error) {
	return f.connect(muniment.Options{Policy: policy, StreamKey: key})
}

func (f *serverFlags) connect(o muniment.Options) (*muniment.Client, error) {
	o.Server, o.Tenant, o.UserAgent = f.Server, f.Tenant, "muniment-cli"
	if err := f.useTLS(&o); err != nil {
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
		return nil, err
	}
	if c.Tenant == "" {
		return nil, errors.New("it is not clear for which tenant: give --tenant NAME, or set MUNIMENT_TENANT")
	}
	return c, nil
}

func (f *serverFlags) token() (string, error) {
	if f.TokenFile == "" {
		return environmentToken()
	}
	token, err := readLedgerToken(f.TokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return token, nil
}

// identity returns the source of identity tokens that --identity-token names.
func (f *serverFlags) identity() (func(context.Context) (string, error), error) {
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
	return func(context.Context) (string, error) { // read anew each time: clusters replace the file
		data, err := bounded.ReadSecret(f.IdentityToken)
		if err != nil {
			return "", fmt.Errorf("--identity-token: %w", err)
		}
		return strings.TrimSpace(string(data)), nil
	}, nil
}

// useTLS sets a client that shows the certificate and trusts the authorities
// that the flags name.
func (f *serverFlags) useTLS(o *muniment.Options) error {
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
		if config.RootCAs, err = readCertificates(f.CA); err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	o.HTTPClient = &http.Client{Transport: transport}
	return nil
}

// clientCertificate reads the certificate that is shown in place of a token.
func (f *serverFlags) clientCertificate() (tls.Certificate, error) {
	var none tls.Certificate
	switch {
	case f.ClientCert == "":
		return none, errors.New("--client-key: its certificate is missing: give --client-cert")
	case f.ClientKey == "":
		return none, errors.New("--client-cert: its key is missing: give --client-key")
	}
	cert, err := bounded.ReadFile(f.ClientCert, bounded.Config)
	if err != nil {
		return none, fmt.Errorf("--client-cert: %w", err)
	}
	key, err := bounded.ReadSecret(f.ClientKey)
	if err != nil {
		return none, fmt.Errorf("--client-key: %w", err)
	}
	pair, err := pemfile.KeyPair(cert, key)
	if err != nil {
		return none, fmt.Errorf("--client-cert, --client-key: %w", err)
	}
	return pair, nil
}

// readCertificates reads a file of PEM certificates.
func readCertificates(path string) (*x509.CertPool, error) {
	data, err := bounded.ReadFile(path, bounded.Config)
	if err != nil {
		return nil, err
	}
	pool, err := pemfile.Pool(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return pool, nil
}

// loadPolicies reads policy files.
func loadPolicies(paths []string) ([]*receipt.TrustPolicy, error) {
	var out []*receipt.TrustPolicy
	for _, path := range paths {
		data, err := bounded.ReadFile(path, bounded.Config)
		if err != nil {
			return nil, fmt.Errorf("--policy: %w", err)
		}
		p, err := parsePolicy(path, data)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// optionalPolicy reads a policy and a stream key, where given.
func optionalPolicy(policy, streamKey string) (*receipt.TrustPolicy, *entry.StreamKey, error) {
	var p *receipt.TrustPolicy
	var k *entry.StreamKey
	if policy != "" {
		all, err := loadPolicies([]string{policy})
		if err != nil {
			return nil, nil, err
		}
		p = all[0]
	}
	if streamKey != "" {
		var err error
		if k, err = readStreamKey(streamKey); err != nil {
			return nil, nil, fmt.Errorf("--stream-key: %w", err)
		}
	}
	return p, k, nil
}

// writeJSON writes v on one line.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// writeOutput writes bytes that are the result of a command to the file, or to
// standard output if path is "" or "-". On a terminal they are escaped.
func (a *app) writeOutput(path string, data []byte) error {
	if path == "" || path == "-" {
		_, err := a.rawOutput().Write(data)
		return err
	}
	return wholefile.Output(path, 0o666, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// rawOutput returns standard output for bytes: as they are, unless it is a
// terminal.
func (a *app) rawOutput() io.Writer {
	if a.stdout.Terminal() {
		return a.stdout
	}
	return a.stdout.Raw()
}

// stderrFile returns the file that standard error is.
func (a *app) stderrFile() (*os.File, bool) {
	if a.json {
		return nil, false // a bar is no line of JSON
	}
	w := a.stderr
	if e, ok := w.(*term.Escaper); ok {
		w = e.Unwrap()
	}
	f, ok := w.(*os.File)
	return f, ok
}

// replaceOwned replaces a file of a data folder, whose owner keeps its files.
func replaceOwned(path string, data []byte) error {
	return wholefile.ReplaceOwnedPath(path, data, 0o666) // less the umask
}

// printable keeps unsafe characters of evidence, file names and messages away
// from where they are shown. Lines stay lines.
func printable(s string) string { return term.Escape(s) }

// quoted is printable for one field: lines don't stay lines either.
func quoted(s string) string {
	if q := strconv.Quote(s); q[1:len(q)-1] != s {
		return q
	}
	return s
}

// progress shows a bar on standard error, where that is a terminal and there is
// enough to do.
func (a *app) progress(total int64, what string) *progressbar.ProgressBar {
	f, ok := a.stderrFile()
	if !ok || !term.IsTerminal(f) || total < 10 {
		return progressbar.DefaultSilent(total)
	}
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString("entries"), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
}

// byteProgress is progress for bytes.
func (a *app) byteProgress(total int64, what string) *progressbar.ProgressBar {
	f, ok := a.stderrFile()
	if !ok || !term.IsTerminal(f) || total < 64<<20 {
		return progressbar.DefaultBytesSilent(total)
	}
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what), progressbar.OptionShowBytes(true),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
}

// progressBytes shows how many bytes have come, where their number is not
// known.
func (a *app) progressBytes(what string) *progressbar.ProgressBar {
	f, ok := a.stderrFile()
	if !ok || !term.IsTerminal(f) {
		return progressbar.DefaultBytesSilent(-1)
	}
	return progressbar.NewOptions64(-1, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what), progressbar.OptionShowBytes(true), progressbar.OptionClearOnFinish())
}

// progressFunc returns a function that shows how far work has come whose total
// it learns on the way, and one that ends the show.
func (a *app) progressFunc(what string) (show func(done, total uint64), finish func()) {
	var bar *progressbar.ProgressBar
	show = func(done, total uint64) {
		if bar == nil {
			bar = a.progress(int64(total), what)
		}
		_ = bar.Set64(int64(done)) // a bar that can't be drawn changes nothing
	}
	finish = func() {
		if bar != nil {
			_ = bar.Finish()
		}
	}
	return show, finish
}

// buffered returns a buffered standard output, to be flushed by the caller.
func (a *app) buffered() *bufio.Writer { return bufio.NewWriter(a.stdout) }
