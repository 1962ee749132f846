package decide

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"path"
	"regexp"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/helm"
)

type fetchChartCmd struct {
	URL string `arg:"" name:"url" help:"Chart: oci://HOST/NAME:TAG or …@sha256:…, or https://…/NAME-VERSION.tgz. With .prov appended, its provenance file, and …/index.yaml the index of a repository. The prefix muniment+ is ignored."`
	remote.Flags
	remote.RegistryFlags
	chartHostFlags
	Stage       string `help:"Stage to pass, as the control set names it." required:"" env:"MUNIMENT_STAGE" placeholder:"STAGE"`
	Environment string `help:"Environment, such as production/eu." env:"MUNIMENT_ENVIRONMENT" placeholder:"NAME"`
	Output      string `short:"o" help:"File to write to. Default: standard output." placeholder:"FILE" type:"path"`
}

func (fetchChartCmd) Help() string {
	return `Downloads a chart, asks the gate about the bytes that it has received, and writes them only if they pass. Reasons go to standard error. Redirects and the
registry's answers need no trust: what is written is what was decided.

A provenance file is written without a decision, for 'helm --verify'. In the index of a repository, the address of each chart gets the prefix muniment+, so
that Helm fetches it in the same way, and digests are left out, because Helm would take a chart from its cache without asking.

The plugin in deploy/helm-plugin calls this for addresses that begin with muniment+. The user name and password of a repository are read from
MUNIMENT_CHART_USERNAME and MUNIMENT_CHART_PASSWORD. Those of a registry are from docker login.

Exit code: 0 written; 1 blocked; 2 could not decide, or no answer.

Examples:
  muniment fetch-chart oci://registry.example.com/charts/gateway:1.7.0 --stage deploy -o gateway-1.7.0.tgz
  muniment fetch-chart https://charts.example.com/gateway-1.7.0.tgz --stage deploy --environment production/eu -o gateway-1.7.0.tgz`
}

// maxChart is the largest archive, and maxIndex the largest index of a
// repository, in bytes.
const (
	maxChart = 128 << 20
	maxIndex = 32 << 20
)

func (c *fetchChartCmd) Run(a *term.App) error {
	return a.StreamOutput(c.Output, func(w io.Writer) error { // which checks the path first
		data, err := c.fetch(a)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
}

// fetch returns the chart, its provenance file, or the index of a repository.
func (c *fetchChartCmd) fetch(a *term.App) ([]byte, error) {
	c.readCredentials()
	address, err := url.Parse(strings.TrimPrefix(c.URL, munimentPrefix))
	if err != nil {
		return nil, fmt.Errorf("not a URL: %w", err)
	}
	switch address.Scheme {
	case "oci":
		return c.fromRegistry(a, strings.TrimPrefix(c.URL, munimentPrefix))
	case "https", "http":
		return c.fromRepository(a, address)
	default:
		return nil, fmt.Errorf("%s: the scheme must be oci, https or http, as in oci://registry.example.com/charts/gateway:1.7.0", term.Quoted(c.URL))
	}
}

// munimentPrefix precedes the scheme in addresses for Helm.
const munimentPrefix = "muniment+"

// archiveName matches the file name that can follow a reference, so that Helm
// names the file as a provenance file does.
var archiveName = regexp.MustCompile(`^(.+(?::[\w.+-]+|@sha256:[0-9a-f]{64}))/[\w.+-]+\.tgz$`)

// fromRegistry reads a chart, or its provenance file, from a registry.
func (c *fetchChartCmd) fromRegistry(a *term.App, address string) ([]byte, error) {
	reference, provenance := strings.CutSuffix(strings.TrimPrefix(address, "oci://"), ".prov")
	if m := archiveName.FindStringSubmatch(reference); m != nil {
		reference = m[1]
	}
	if last := path.Base(reference); !strings.ContainsAny(last, ":@") {
		return nil, fmt.Errorf("%s: no version specified: append a tag or digest to the URL, because Helm passes --version only to its own oci://", term.Quoted(reference))
	}
	// Helm writes the + of a version as _ in tags.
	reference = strings.ReplaceAll(reference, "+", "_")
	registry, err := c.Open(reference)
	if err != nil {
		return nil, err
	}
	all, err := registry.Artifacts(a.Ctx)
	if err != nil {
		return nil, err
	}
	chart := all[0].Chart
	switch {
	case chart == nil:
		return nil, fmt.Errorf("%s: not a Helm chart: it has the media type %s", term.Quoted(reference), term.Quoted(all[0].MediaType))
	case provenance && chart.Provenance == "":
		return nil, fmt.Errorf("%s: the registry has no provenance file of it: push it beside the .tgz, after helm package --sign", term.Quoted(reference))
	case provenance:
		return registry.Blob(a.Ctx, chart.Provenance)
	}
	s := &subject{GateSubject: &munimentv1.GateSubject{
		Type: artifact.Chart, Artifact: &munimentv1.Artifact{Name: reference, Digest: digestOf(all[0].Digest)},
		Parts: []*munimentv1.GatePart{{Digest: digestOf(chart.Archive), Platform: "archive"}},
	}}
	if err := c.decide(a, s); err != nil {
		return nil, err
	}
	return registry.Blob(a.Ctx, chart.Archive) // checks the digest
}

// fromRepository reads a chart, its provenance file or the index from a
// repository.
func (c *fetchChartCmd) fromRepository(a *term.App, address *url.URL) ([]byte, error) {
	switch name := path.Base(address.Path); {
	case name == "index.yaml":
		text, err := c.download(a.Ctx, address, maxIndex)
		if err != nil {
			return nil, err
		}
		index, left, err := gateIndex(text, address, c.confined())
		if err != nil {
			return nil, err
		}
		if left > 0 {
			fmt.Fprintf(a.Stderr, "left out %s on other hosts, to which the credentials would be sent: use --pass-credentials if they may\n", term.Count(left, "address"))
		}
		return index, nil
	case strings.HasSuffix(name, ".prov"):
		return c.download(a.Ctx, address, helm.MaxProvenance)
	default:
		data, err := c.download(a.Ctx, address, maxChart)
		if err != nil {
			return nil, err
		}
		if _, err := helm.ReadArchive(bytes.NewReader(data)); err != nil {
			return nil, fmt.Errorf("%s: %w", term.Quoted(name), err)
		}
		sum := sha256.Sum256(data)
		digest := map[string]string{"sha256": hex.EncodeToString(sum[:])}
		return data, c.decide(a, &subject{GateSubject: &munimentv1.GateSubject{Type: artifact.Chart, Artifact: &munimentv1.Artifact{Name: name, Digest: digest}}})
	}
}

// decide asks the gate. It returns nil for a pass only.
func (c *fetchChartCmd) decide(a *term.App, s *subject) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	set, err := controlSet(a.Ctx, client)
	if err != nil {
		return err
	}
	request := &munimentv1.DecideRequest{Tenant: client.Tenant, Stage: c.Stage, Environment: c.Environment, Explain: true, Subjects: []*munimentv1.GateSubject{s.GateSubject}}
	report, err := newReport(a.Ctx, client, set, request, []*subject{s})
	if err != nil {
		return err
	}
	if report.Decision == outcomePass {
		fmt.Fprintf(a.Stderr, "%s  %s at %s\n", answer.Marks[outcomePass], term.Quoted(s.Artifact.Name), answer.AtStage(c.Stage, c.Environment))
		return nil
	}
	fmt.Fprint(a.Stderr, report.Text())
	return exitOf(report.Decision)
}
