package prove

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"muniment.dev/muniment/api/rekor"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/term"
)

// sigstoreFlags specify the Rekor log that a Sigstore file is for.
type sigstoreFlags struct {
	Server string `help:"URL of the Rekor log, as clients use it. Its host is the log's origin." placeholder:"URL" env:"MUNIMENT_REKOR_SERVER" required:""`
	Output string `short:"o" help:"File to write to. Default: standard output." placeholder:"FILE"`
}

// description fetches the server's description of its Rekor log.
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
		return nil, fmt.Errorf("%w: start the log with 'muniment serve --rekor-listen'", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", url, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: not a Rekor log of this program: use the URL of 'muniment serve --rekor-listen'", url, res.Status)
	}
	d, err := rekor.ParseDescription(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return d, nil
}

type trustedRootExportCmd struct {
	sigstoreFlags
	FulcioURL   string `help:"URL of a certificate authority to trust as well." placeholder:"URL"`
	FulcioChain string `help:"Certificates of the authority, in PEM, issuing certificate first." placeholder:"FILE" predictor:"file"`
	TSAURL      string `name:"tsa-url" help:"URL of another timestamp authority to trust." placeholder:"URL"`
	TSAChain    string `name:"tsa-chain" help:"Certificates of the timestamp authority, in PEM, signing certificate first." placeholder:"FILE" predictor:"file"`
	CTLogURL    string `name:"ct-log-url" help:"URL of a certificate transparency log to trust." placeholder:"URL"`
	CTLogKey    string `name:"ct-log-key" help:"Public key of the certificate transparency log, in PEM or DER." placeholder:"FILE" predictor:"file"`
}

func (trustedRootExportCmd) Help() string {
	return `The file contains the log's keys and its timestamp authority, if any, as the server reports them. Fetch
it once, over HTTPS or on the server's own machine, and distribute it like a policy. Verifying with it
needs no further requests.

Exit code: 0 written; 2 no answer.

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
			return fmt.Errorf("%s is required: a URL has no keys to trust", part.flag)
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
		fmt.Fprintln(a.Stderr, "muniment: warning: the file has no timestamp authority, so signatures by short-lived certificates can't be verified with it: add one with --tsa-chain, or create the log's own with 'muniment init --rekor-origin HOST --tsa'")
	}
	data, err := d.TrustedRoot(c.Server, others)
	if err != nil {
		return err
	}
	return a.WriteOutput(c.Output, data)
}

type signingConfigCmd struct {
	sigstoreFlags
	FulcioURL []string `help:"URL of a certificate authority that issues certificates." placeholder:"URL"`
	OIDCURL   []string `name:"oidc-url" help:"URL of an OpenID Connect issuer for logins." placeholder:"URL"`
	TSAURL    []string `name:"tsa-url" help:"URL of another timestamp authority, with its path." placeholder:"URL"`
	Operator  string   `help:"Operator of the services. Default: the log's origin." placeholder:"NAME"`
}

func (signingConfigCmd) Help() string {
	return `The file always contains the log and, if it has one, its timestamp authority.

Exit code: 0 written; 2 no answer.

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
