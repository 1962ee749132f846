package decide

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/term"
)

// chartHostFlags are about the connection to a repository of charts.
type chartHostFlags struct {
	ChartCA         string `name:"chart-ca" help:"Certificates of the authorities to verify the repository's certificate with, in PEM. Default: the system's." placeholder:"FILE" predictor:"file"`
	ChartCert       string `help:"Client certificate for the repository, in PEM." placeholder:"FILE" predictor:"file"`
	ChartKey        string `help:"Key of --chart-cert, in PEM." placeholder:"FILE" predictor:"file"`
	PassCredentials bool   `help:"Send the user name and password to all hosts that the index names."`

	username, password string // of the environment
}

// Variables with the credentials of a repository. There are no flags for them,
// because other users can list the arguments of processes.
const (
	chartUsername = "MUNIMENT_CHART_USERNAME"
	chartPassword = "MUNIMENT_CHART_PASSWORD"
)

// readCredentials reads the variables.
func (f *chartHostFlags) readCredentials() {
	f.username, f.password = os.Getenv(chartUsername), os.Getenv(chartPassword)
}

// fetchTimeout is the time for one file of a repository.
const fetchTimeout = 10 * time.Minute

// download reads a file of a repository, of at most limit bytes.
func (f *chartHostFlags) download(ctx context.Context, address *url.URL, limit int64) ([]byte, error) {
	client, err := f.client()
	if err != nil {
		return nil, err
	}
	plain := *address
	plain.User, plain.Fragment = nil, ""
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, plain.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "muniment")
	if user, password, ok := f.credentials(address); ok {
		if address.Scheme == "http" && !edge.IsLoopback(address.Hostname()) {
			return nil, fmt.Errorf("%s: plain HTTP would reveal the password: use https", term.Quoted(address.Host))
		}
		request.SetBasicAuth(user, password) // net/http sends it to no other host after a redirect
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: the repository answered %s", term.Quoted(plain.String()), term.Quoted(response.Status))
	}
	data, err := bounded.ReadAll(response.Body, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", term.Quoted(plain.String()), err)
	}
	return data, nil
}

// credentials returns those of the variables, or of the URL.
func (f *chartHostFlags) credentials(address *url.URL) (user, password string, ok bool) {
	if f.username != "" {
		return f.username, f.password, true
	}
	if address.User != nil {
		password, _ = address.User.Password()
		return address.User.Username(), password, true
	}
	return "", "", false
}

// confined reports whether there are credentials that must not reach other
// hosts.
func (f *chartHostFlags) confined() bool {
	return !f.PassCredentials && (f.username != "" || f.ChartCert != "")
}

func (f *chartHostFlags) client() (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case f.ChartCert != "" && f.ChartKey != "":
		pair, err := remote.ReadKeyPair("--chart-cert", f.ChartCert, "--chart-key", f.ChartKey)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	case f.ChartCert != "" || f.ChartKey != "":
		return nil, errors.New("--chart-cert and --chart-key require each other")
	}
	if f.ChartCA != "" {
		pool, err := datadir.ReadCertificates(f.ChartCA)
		if err != nil {
			return nil, fmt.Errorf("--chart-ca: %w", err)
		}
		config.RootCAs = pool
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	return &http.Client{Transport: transport, Timeout: fetchTimeout, CheckRedirect: checkRedirect}, nil
}

// checkRedirect refuses to leave TLS, because net/http sends the password again
// to the same host.
func checkRedirect(next *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= 10:
		return errors.New("more than 10 redirects")
	case next.URL.Scheme != "https" && via[0].URL.Scheme == "https":
		return fmt.Errorf("the repository redirects to %s, without TLS", term.Quoted(next.URL.Redacted()))
	}
	return nil
}
