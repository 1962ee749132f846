package prove

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"muniment.dev/muniment/api/rekor"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/internal/bounded"
)

// sigstoreFlags say which Rekor log a Sigstore file is for, and what else is to
// be in it.
type sigstoreFlags struct {
	Server string `help:"URL of the Rekor log, as its clients will use it; its host is the log's origin." placeholder:"URL" env:"MUNIMENT_REKOR_SERVER" required:""`
	Output string `short:"o" help:"Write to the file instead of standard output." placeholder:"FILE"`
}

// description asks the listener what it is.
func (f *sigstoreFlags) description(a *term.App) (*rekor.Description, error) {
	ctx, cancel := context.WithTimeout(a.Ctx, 30*time.Second)
	defer cancel()
	url := strings.TrimRight(f.Server, "/") + rekor.DescriptionPath
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w. Does 'muniment serve --rekor-listen' run there?", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", url, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: it is not the Rekor log of a muniment server; give the URL of 'muniment serve --rekor-listen'", url, res.Status)
	}
	d, err := rekor.ParseDescription(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return d, nil
}

type trustedRootExportCmd struct {
	sigstoreFlags
	FulcioURL   string `help:"URL of a certificate authority to trust, too." placeholder:"URL"`
	FulcioChain string `help:"Its certificates in PEM, the issuing one first." placeholder:"FILE" predictor:"file"`
	TSAURL      string `name:"tsa-url" help:"URL of another timestamp authority to trust." placeholder:"URL"`
	TSAChain    string `name:"tsa-chain" help:"Its certificates in PEM, the signing one first." placeholder:"FILE" predictor:"file"`
	CTLogURL    string `name:"ct-log-url" help:"URL of a certificate transparency log to trust." placeholder:"URL"`
	CTLogKey    string `name:"ct-log-key" help:"Its public key in PEM or DER." placeholder:"FILE" predictor:"file"`
}

func (trustedRootExportCmd) Help() string {
	return `The log's own keys come from the server, and so does its timestamp authority if it has one. Fetch the file once, over HTTPS or on the
server's own machine, and hand it out like a policy: who verifies with it asks nobody again.

Exit code: 0 written; 2 it could not be made.

Examples:
  muniment trusted-root --server https://rekor.example.com -o trusted-root.json
  muniment trusted-root --server https://rekor.example.com --fulcio-url https://fulcio.example.com --fulcio-chain ca.pem -o trusted-root.json
  cosign verify-blob --trusted-root trusted-root.json --key cosign.pub --bundle a.sigstore.json a.txt`
}

func (c *trustedRootExportCmd) Run(a *term.App) error {
	var others rekor.Services
	for _, part := range []struct {
		flag, path string
		url        string
		to         *[]rekor.Service
	}{
		{"--fulcio-chain", c.FulcioChain, c.FulcioURL, &others.Fulcio},
		{"--tsa-chain", c.TSAChain, c.TSAURL, &others.TSA},
		{"--ct-log-key", c.CTLogKey, c.CTLogURL, &others.CTLog},
	} {
		switch {
		case part.path == "" && part.url == "":
			continue
		case part.path == "":
			return fmt.Errorf("%s is missing: a URL alone gives nothing to trust", part.flag)
		}
		data, err := bounded.ReadFile(part.path, bounded.Document)
		if err != nil {
			return fmt.Errorf("%s: %w", part.flag, err)
		}
		*part.to = append(*part.to, rekor.Service{URL: part.url, Chain: data, Key: data})
	}
	d, err := c.description(a)
	if err != nil {
		return err
	}
	if len(others.Fulcio) > 0 && len(others.TSA) == 0 && d.TimestampChain == "" {
		fmt.Fprintln(a.Stderr, "muniment: no timestamp authority is in the file: signatures by short-lived certificates can't be verified with it. Add one with --tsa-chain, or make the log's own with: muniment init --rekor-origin HOST --tsa")
	}
	data, err := d.TrustedRoot(c.Server, others)
	if err != nil {
		return err
	}
	return a.WriteOutput(c.Output, data)
}

type signingConfigCmd struct {
	sigstoreFlags
	FulcioURL []string `help:"URL of a certificate authority to get certificates from." placeholder:"URL"`
	OIDCURL   []string `name:"oidc-url" help:"URL of an OpenID Connect issuer to log in at." placeholder:"URL"`
	TSAURL    []string `name:"tsa-url" help:"URL of another timestamp authority, with its path." placeholder:"URL"`
	Operator  string   `help:"Who runs the services. Default: the log's origin." placeholder:"NAME"`
}

func (signingConfigCmd) Help() string {
	return `The log and, if it has one, its timestamp authority are in the file without being asked for.

Exit code: 0 written; 2 it could not be made.

Examples:
  muniment signing-config --server https://rekor.example.com -o signing-config.json
  muniment signing-config --server https://rekor.example.com --fulcio-url https://fulcio.example.com --oidc-url https://login.example.com -o signing-config.json
  cosign sign-blob --signing-config signing-config.json --trusted-root trusted-root.json --key cosign.key --bundle a.sigstore.json a.txt`
}

func (c *signingConfigCmd) Run(a *term.App) error {
	others := rekor.Services{Operator: c.Operator, Fulcio: services(c.FulcioURL), OIDC: services(c.OIDCURL), TSA: services(c.TSAURL)}
	d, err := c.description(a)
	if err != nil {
		return err
	}
	data, err := d.SigningConfig(c.Server, others)
	if err != nil {
		return err
	}
	return a.WriteOutput(c.Output, data)
}

func services(urls []string) []rekor.Service {
	var out []rekor.Service
	for _, u := range urls {
		out = append(out, rekor.Service{URL: u})
	}
	return out
}
