package decide

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/bundle"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

type bundleCmd struct {
	Create bundleCreateCmd `cmd:"" help:"Write a bundle."`
	Show   bundleShowCmd   `cmd:"" help:"Print what a bundle contains."`
	Verify bundleVerifyCmd `cmd:"" help:"Verify a bundle, with no network."`
}

type bundleCreateCmd struct {
	Release  string   `help:"Select the artifacts of a release, as 'muniment inventory release' has recorded them: VERSION, or NAME and VERSION, or the newest of NAME." placeholder:"NAME"`
	Subject  []string `help:"Select an artifact, as for muniment gate. May be repeated." placeholder:"ARTIFACT" sep:"none"`
	Type     string   `help:"Type of the subjects, which otherwise follows from what they are." enum:",image,chart,delta,export-manifest,file" default:"" placeholder:"image|chart|delta|export-manifest|file"`
	Name     string   `help:"Name of the subject that a digest or file identifies." placeholder:"NAME"`
	Offline  bool     `help:"Do not contact registries: references must contain digests."`
	Since    string   `help:"Without artifacts, select everything since a day, a time in RFC 3339, or how long ago, such as 90d. With them, limit the events that are not about an artifact." placeholder:"TIME|DURATION"`
	Incident string   `help:"Select the entries of an incident of triage, by its identifier." placeholder:"TYPE/KEY-N"`
	Previous string   `help:"Compare with this release." placeholder:"NAME"`
	At       uint64   `help:"Size of the log, of which it has a checkpoint. Default: the latest." placeholder:"SIZE"`
	Time     string   `help:"Time for which the reports are made, in RFC 3339. Default: that of the tenant's newest entry." placeholder:"TIME"`
	Output   string   `short:"o" help:"File to write." required:"" placeholder:"FILE.bundle.tar" type:"path"`
	Sign     bool     `help:"Sign the bundle with the gate's key, or with --key. The signature is written to FILE.bundle.tar.sigstore.json."`
	Record   bool     `help:"Sign the bundle, and record the signature in the ledger as evidence about its artifacts, so that a control can require it."`
	// not the stream key
	PrivateKey string `name:"key" help:"With --sign or --record: file with the private key, in PEM, that signs instead of the gate's." placeholder:"FILE" predictor:"file" type:"path"`
	Policy     string `help:"Trust policy to verify the bundle with once it is written." env:"MUNIMENT_POLICY" predictor:"file"`
	Key        string `name:"stream-key" help:"The tenant's stream key, which proves that nothing is missing." env:"MUNIMENT_STREAM_KEY" placeholder:"FILE" predictor:"file" type:"path"`
	Data       string `help:"Create it from this data folder of a log or replica instead of a server. The server must be stopped." type:"path" placeholder:"DIR"`
	Only       string `name:"only-tenant" help:"With --data: the tenant. Default: the only one." placeholder:"NAME"`
	JSON       bool   `help:"Print JSON."`
	remote.Flags
	remote.RegistryFlags
}

func (bundleCreateCmd) Help() string {
	return `An evidence bundle is one file for an auditor: evidence with receipts, decisions, exceptions, controls with their status, findings, an index.html for people
and OSCAL for machines (docs/bundle.md). It contains everything that decisions about the artifacts depend on, and the proof that nothing was left out.

The same selection at the same size gives the same bytes, from a server, a replica or a data folder. Signatures are files of their own. The bundle reveals the
headers of all entries of the tenant, and the payloads of those that are selected.

--record signs the bundle and appends the signature to the ledger. It can be repeated: a bundle that is written stays as it is, and a signature by the same key
that is recorded is not recorded again. To sign without a key, by an identity, write the bundle first, sign its statement with cosign (muniment bundle show
--statement), and then run the command with --record: it records the signature beside the bundle.

Exit code: 0 written, verified if --policy was given, and recorded with --record; 1 the bundle does not verify, or may not be recorded; 2 no answer; 3 as 0, but
the server has made reports of another version, which were not compared with the evidence.

Examples:
  muniment bundle create --release 1.7.0 --previous 1.6.0 -o 1.7.0.bundle.tar --policy policy --stream-key acme.key
  muniment bundle create --subject registry.example.com/app:1.7.0 --subject gateway-1.7.0.tgz -o app.bundle.tar
  muniment bundle create --since 90d -o quarter.bundle.tar --sign
  muniment bundle create --incident P1-gateway-5xx-surge/1110b0d4dafb-1 -o incident.bundle.tar
  muniment bundle create --release 1.7.0 -o 1.7.0.bundle.tar --record
  muniment bundle create --release 1.7.0 --at 4711 -o 1.7.0.bundle.tar --data ./data --only-tenant acme`
}

// A bundleReport describes a bundle. Its JSON is stable.
type bundleReport struct {
	File     string   `json:"file"`
	Verified bool     `json:"verified"`
	Reason   *reason  `json:"reason,omitempty"`
	Identity string   `json:"identity,omitempty"`
	Bytes    int64    `json:"bytes,omitempty"`
	Origin   string   `json:"origin,omitempty"`
	Tenant   string   `json:"tenant,omitempty"`
	Size     uint64   `json:"size,omitempty"`
	Root     string   `json:"root,omitempty"`
	Time     string   `json:"time,omitempty"`
	Selected string   `json:"selected,omitempty"`
	Entries  uint64   `json:"entries"`
	Included uint64   `json:"included"`
	Omitted  uint64   `json:"omitted"`
	Erased   []uint64 `json:"erased,omitempty"`
	Complete bool     `json:"complete"`
	// of the checkpoint
	Signers   []string         `json:"signers,omitempty"`
	Policy    string           `json:"policy,omitempty"`
	Witnessed bool             `json:"witnessed"`
	Reports   *computedReports `json:"reports,omitempty"` // absent: not verified, or skipped
	// Warnings name what was not proven. Absent: not verified
	Warnings  *[]bundlefile.Warning `json:"warnings,omitempty"`
	Signature string                `json:"signature,omitempty"`
	Record    *recordedBundle       `json:"record,omitempty"`
}

// computedReports is the result of computing the reports again.
type computedReports struct {
	Computed bool     `json:"computed"` // and they are those of the evidence
	Problem  string   `json:"problem,omitempty"`
	Stated   []string `json:"stated,omitempty"` // what is the creator's account
}

// A reason is why a bundle was not verified.
type reason struct {
	Code    string `json:"code"`
	Step    int    `json:"step"`
	Message string `json:"message"`
}

func (c *bundleCreateCmd) Run(a *term.App) error {
	request, err := c.request(a)
	if err != nil {
		return err
	}
	policy, key, err := datadir.OptionalPolicy(c.Policy, c.Key)
	if err != nil {
		return err
	}
	var recorder *bundleRecorder
	if c.Record {
		if recorder, err = c.recorder(a); err != nil {
			return err
		}
	}
	exists, err := c.outputs()
	if err != nil {
		return err
	}
	report := &bundleReport{File: c.Output}
	signature := ""
	write := func(f *os.File) error {
		var err error
		switch {
		case exists:
			signature, err = c.again(a, f, request)
		case c.Data != "":
			signature, err = c.fromFolder(a, f, request)
		default:
			signature, err = c.fromServer(a, f, request)
		}
		if err != nil {
			return remote.NotFound(err)
		}
		return c.check(a, f, report, policy, key)
	}
	if exists {
		err = readOutput(c.Output, write)
	} else {
		err = a.CreateOutput(c.Output, write)
	}
	if err == nil && (c.Sign || c.Record) {
		err = c.finish(a, report, recorder, []byte(signature))
	}
	if err != nil {
		return err
	}
	return report.finish(a, c.JSON)
}

// outputs reports whether the bundle is written, which only --record allows.
func (c *bundleCreateCmd) outputs() (exists bool, err error) {
	for _, path := range []string{c.Output, c.Output + bundlefile.SignatureSuffix} {
		_, err := os.Lstat(path)
		switch {
		case err != nil || path != c.Output && !c.Sign && !c.Record:
		case !c.Record:
			return false, fmt.Errorf("-o: %s exists and is not overwritten: choose another name", path)
		case path == c.Output:
			exists = true
		case !exists:
			return false, fmt.Errorf("-o: %s exists without its bundle: remove it, or choose another name", path)
		}
	}
	return exists, nil
}

// readOutput calls read with a file that an earlier run has written.
func readOutput(path string, read func(*os.File) error) error {
	f, _, err := interrupt.OpenRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return read(f)
}

// finish writes the signature, and records it if there is a recorder.
func (c *bundleCreateCmd) finish(a *term.App, report *bundleReport, recorder *bundleRecorder, signature []byte) error {
	summary, err := summarizeFile(c.Output)
	if err == nil {
		report.Signature, signature, err = c.writeSignature(a, summary, signature)
	}
	if err != nil || recorder == nil {
		return err
	}
	if report.Record, err = recorder.record(a.Ctx, summary, signature); err != nil {
		return fmt.Errorf("%s and its signature are written, but not recorded: run the command again, or append the signature: %w", c.Output, err)
	}
	return nil
}

// request returns the request that the flags make.
func (c *bundleCreateCmd) request(a *term.App) (*munimentv1.CreateBundleRequest, error) {
	r := &munimentv1.CreateBundleRequest{Release: c.Release, Previous: c.Previous, Incident: c.Incident, TreeSize: c.At, Sign: (c.Sign || c.Record) && c.PrivateKey == ""}
	switch {
	case c.Release == "" && len(c.Subject) == 0 && c.Since == "" && c.Incident == "":
		return nil, errors.New("nothing selected: use --release, --subject, --since or --incident")
	case c.Incident != "" && (c.Release != "" || c.Previous != "" || len(c.Subject) > 0 || c.Since != ""):
		return nil, errors.New("--incident cannot be used with --release, --subject, --since and --previous")
	case c.Release != "" && len(c.Subject) > 0:
		return nil, errors.New("--release and --subject cannot be used together")
	case c.PrivateKey != "" && !c.Sign && !c.Record:
		return nil, errors.New("--key requires --sign or --record")
	case c.Only != "" && c.Data == "":
		return nil, errors.New("--only-tenant requires --data: on a server, the token determines the tenant")
	}
	if c.Since != "" {
		at, err := sinceTime("--since", c.Since, time.Now())
		if err != nil {
			return nil, err
		}
		r.Since = timestamppb.New(at.Truncate(time.Millisecond))
	}
	if c.Time != "" {
		at, err := time.Parse(time.RFC3339, c.Time)
		if err != nil {
			return nil, fmt.Errorf("--time: %q is not a time in RFC 3339, such as 2026-11-01T00:00:00Z", c.Time)
		}
		r.Time = timestamppb.New(at)
	}
	if len(c.Subject) == 0 {
		return r, nil
	}
	flags := &subjectFlags{Subjects: c.Subject, Type: c.Type, Name: c.Name, Offline: c.Offline, RegistryFlags: c.RegistryFlags}
	subjects, _, err := flags.resolve(a, nil)
	for _, s := range subjects {
		r.Artifacts = append(r.Artifacts, s.GateSubject)
	}
	return r, err
}

func (c *bundleCreateCmd) fromServer(a *term.App, w io.Writer, request *munimentv1.CreateBundleRequest) (string, error) {
	client, err := c.Client(nil, nil)
	if err != nil {
		return "", err
	}
	bar := a.ProgressBytes("bundle")
	defer bar.Finish()
	return client.CreateBundle(a.Ctx, io.MultiWriter(w, bar), request)
}

// fromFolder creates the bundle from a data folder.
func (c *bundleCreateCmd) fromFolder(a *term.App, w io.Writer, request *munimentv1.CreateBundleRequest) (signature string, err error) {
	datadir.TuneMemoryTo(100, 96<<20) // as for a gate with --delta
	d, err := datadir.Load(c.Data)
	if err != nil {
		return "", err
	}
	if request.Sign && d.Gate == nil {
		return "", errors.New("--sign: the folder has no gate key, which signs bundles: create the bundle on the log itself, or sign the file with cosign")
	}
	src := &bundle.Source{}
	if src.Tenant, src.Stream, err = c.tenant(d); err != nil {
		return "", err
	}
	l, err := d.OpenLedger(a.Ctx, a.StoreLogger(slog.LevelWarn))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	src.Ledger, src.Policy = l.Ledger, l.Policy
	exceptions := &exception.Projection{Log: l.Ledger, Now: time.Now}
	src.Decider = &decide.Decider{Log: l.Ledger, Facts: decide.StoredFacts{Log: l.Ledger}, Exceptions: exceptions, Now: time.Now}
	show, finish := a.ProgressFunc("bundle")
	defer finish()
	r := bundle.RequestOf(request)
	r.Progress = show
	summary, err := bundle.Create(a.Ctx, w, src, r)
	if err != nil || !request.Sign {
		return "", err
	}
	text, err := bundle.Sign(d.Gate, summary, filepath.Base(c.Output))
	return string(text), err
}

// tenant returns the tenant of the folder that the flags name.
func (c *bundleCreateCmd) tenant(d *datadir.Dir) (string, *ledger.Stream, error) {
	if c.Only == "" && len(d.Tenants) == 1 {
		return d.Tenants[0].Name, d.Tenants[0].Stream, nil
	}
	for i := range d.Tenants {
		if d.Tenants[i].Name == c.Only {
			return c.Only, d.Tenants[i].Stream, nil
		}
	}
	if c.Only == "" {
		return "", nil, fmt.Errorf("%s has several tenants: use --only-tenant", c.Data)
	}
	return "", nil, fmt.Errorf("--only-tenant: %s has no tenant %q: list them with 'muniment tenant list --data %s'", c.Data, c.Only, c.Data)
}

// check reads the written bundle, and verifies it if there is a policy.
func (c *bundleCreateCmd) check(a *term.App, f *os.File, report *bundleReport, policy *receipt.TrustPolicy, key *entry.StreamKey) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if policy == nil {
		b, err := bundlefile.Open(f, info.Size())
		if err != nil {
			return term.ExitWith(term.ExitNo, err)
		}
		report.describe(b)
		return nil
	}
	b, r, err := verifyBundle(a, f, info.Size(), filepath.Base(c.Output), []*receipt.TrustPolicy{policy}, bundlefile.Options{StreamKey: key, Reports: recompute(a)})
	if err != nil {
		return term.ExitWith(term.ExitNo, err)
	}
	report.describe(b)
	report.add(r)
	return nil
}
