package prove

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/export"
)

type exportManifestCreateCmd struct {
	Folder            string   `arg:"" help:"Folder with the files of the export and no others." predictor:"file" type:"path"`
	Description       string   `help:"JSON file with the members of the predicate that the files do not show: tenant, exportId, use, residency, privacy." required:"" placeholder:"FILE" predictor:"file" type:"path"`
	License           []string `help:"SPDX expression for files that the description does not list. May be repeated; all apply." placeholder:"SPDX" sep:"none"`
	ClaimedBy         string   `help:"Public key of the signer who makes the claims that name no signer." placeholder:"FILE" predictor:"file" type:"path"`
	ClaimedByIdentity string   `help:"Like --claimed-by, for a signer with a certificate: its identity." placeholder:"ID"`
	ClaimedByIssuer   string   `help:"OIDC issuer of that identity." placeholder:"URL"`
	Stream            string   `help:"Evidence bundle of the tenant, which shows what was spent of the budget. Or use --spent-before." placeholder:"FILE.bundle.tar" predictor:"file" type:"path"`
	StreamKey         string   `help:"With --stream: the tenant's stream key." env:"MUNIMENT_STREAM_KEY" placeholder:"FILE" predictor:"file" type:"path"`
	Policy            []string `help:"With --stream: trust policy of the log." env:"MUNIMENT_POLICY" predictor:"file" sep:"none"`
	SpentBefore       string   `help:"What was spent of the budget before this export: ρ, or ε of pure differential privacy." placeholder:"DECIMAL"`
	Output            string   `short:"o" help:"File to write. Default: standard output." placeholder:"FILE" type:"path"`
}

func (exportManifestCreateCmd) Help() string {
	return `Writes the in-toto statement of an export, which 'muniment export-manifest sign' signs. The description
is the predicate of docs/spec/export-manifest.md. What is missing in it is filled in: the digest and size of each file, all files of the folder, the time, the
version of the SPDX list, who makes the claims, rho and epsilon of the mechanisms, and what is spent of the budget with this export.

Exit code: 0 written; 1 the description is wrong, or the budget is exceeded; 2 no answer.

Examples:
  muniment export-manifest create q2/ --description q2.json --license CC-BY-4.0 --claimed-by exporter.pub --spent-before 0 -o q2.statement.json
  muniment export-manifest create q2/ --description q2.json --claimed-by exporter.pub --stream acme.bundle.tar --stream-key acme.key --policy policy -o q2.statement.json`
}

func (c *exportManifestCreateCmd) Run(a *term.App) error {
	text, err := bounded.ReadFile(c.Description, export.MaxSize)
	if err != nil {
		return fmt.Errorf("--description: %w", err)
	}
	p, err := parsePredicate(text)
	if err != nil {
		return term.ExitWith(term.ExitNo, fmt.Errorf("%s: %w", c.Description, err))
	}
	by, err := c.claimedBy()
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(c.Folder)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := c.files(a, p, root); err != nil {
		return err
	}
	p.fill("created", time.Now().UTC().Format("2006-01-02T15:04:05Z"))
	p.fill("licenses", predicate{"spdxListVersion": export.SPDXListVersion()})
	if err := p.claims(by); err != nil {
		return err
	}
	m, err := c.complete(a, p)
	if err != nil {
		return err
	}
	out, err := m.AppendStatement(nil)
	if err != nil {
		return err
	}
	return a.WriteOutput(c.Output, append(out, '\n'))
}

// claimedBy returns the signer of the flags, or nil.
func (c *exportManifestCreateCmd) claimedBy() (predicate, error) {
	switch {
	case c.ClaimedBy != "" && (c.ClaimedByIdentity != "" || c.ClaimedByIssuer != ""):
		return nil, errors.New("--claimed-by and --claimed-by-identity exclude each other")
	case (c.ClaimedByIdentity == "") != (c.ClaimedByIssuer == ""):
		return nil, errors.New("--claimed-by-identity and --claimed-by-issuer require each other")
	case c.ClaimedByIdentity != "":
		return predicate{"identity": c.ClaimedByIdentity, "issuer": c.ClaimedByIssuer}, nil
	case c.ClaimedBy == "":
		return nil, nil
	}
	s, err := keyIDOf(c.ClaimedBy)
	return predicate{"keyId": s.KeyID}, err
}

// A predicate is an object of a description.
type predicate map[string]any

func parsePredicate(text []byte) (predicate, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	p := predicate{}
	if err := dec.Decode(&p); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", plain.DecodeError(err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("data after the JSON object")
	}
	return p, nil
}

// fill sets a member that is missing.
func (p predicate) fill(name string, value any) {
	if _, ok := p[name]; !ok {
		p[name] = value
	}
}

// object returns an object of the predicate, or nil.
func (p predicate) object(names ...string) predicate {
	for _, name := range names {
		next, ok := p[name].(map[string]any)
		if !ok {
			return nil
		}
		p = next
	}
	return p
}

// objects returns the objects of an array.
func (p predicate) objects(name string) (all []predicate) {
	list, _ := p[name].([]any)
	for _, one := range list {
		if o, ok := one.(map[string]any); ok {
			all = append(all, o)
		}
	}
	return all
}

// files completes the list of files.
func (c *exportManifestCreateCmd) files(a *term.App, p predicate, root *os.Root) error {
	listed := map[string]predicate{}
	for _, f := range p.objects("files") {
		name, _ := f["name"].(string)
		listed[name] = f
	}
	list, _ := p["files"].([]any)
	err := eachFile(root, func(name string) error {
		f := listed[name]
		if f == nil {
			f = predicate{"name": name}
			list = append(list, map[string]any(f))
		}
		delete(listed, name)
		if _, ok := f["license"]; !ok && len(c.License) > 0 {
			f["license"] = c.License
		}
		if _, ok := f["license"]; !ok {
			return fmt.Errorf("file %q has no licence: add it to the description, or use --license", name)
		}
		typ, ok := export.MediaTypes[path.Ext(name)]
		if !ok {
			typ = "application/octet-stream"
		}
		f.fill("mediaType", typ)
		in, err := root.Open(name)
		if err != nil {
			return err
		}
		defer in.Close()
		h := sha256.New()
		size, err := io.Copy(h, interrupt.Reader(a.Ctx, in))
		f["digest"], f["size"] = predicate{"sha256": entry.Hash(h.Sum(nil)).String()}, size
		return err
	})
	if err != nil {
		return err
	}
	for name := range listed {
		return term.ExitWith(term.ExitNo, fmt.Errorf("file %q of the description is not in %s", name, c.Folder))
	}
	p["files"] = list
	return nil
}

// claims names the signer of claims that name none.
func (p predicate) claims(by predicate) error {
	all := p.object("residency").objects("claims")
	if x := p.object("privacy"); x != nil {
		for _, name := range []string{"sensitivity", "sampler"} {
			if x.object(name) == nil && name == "sensitivity" {
				x[name] = map[string]any{}
			}
			if o := x.object(name); o != nil {
				all = append(all, o)
			}
		}
	}
	for _, one := range all {
		if _, ok := one["claimedBy"]; ok {
			continue
		}
		if by == nil {
			return errors.New("a claim of the description names no signer: use --claimed-by with the public key of the signer, or --claimed-by-identity")
		}
		one["claimedBy"] = by
	}
	return nil
}

// complete adds the privacy loss, and returns the manifest.
func (c *exportManifestCreateCmd) complete(a *term.App, p predicate) (*export.Manifest, error) {
	x := p.object("privacy")
	if x == nil {
		return p.manifest()
	}
	loss, budget := x.object("privacy_loss"), x.object("budget")
	if loss == nil || budget == nil {
		return p.manifest() // fails with a message
	}
	if loss.object("privacy_parameters") == nil {
		loss["privacy_parameters"] = map[string]any{}
	}
	parameters := loss.object("privacy_parameters")
	name, _ := x.object("dp_flavor")["name"].(string)
	// A manifest with any numbers in place of the missing ones can be read, and
	// has the mechanisms.
	amount := "epsilon"
	if name == export.ZCDP {
		amount = "rho"
	}
	missing := map[string]bool{}
	for _, one := range []string{"epsilon", amount} {
		if _, ok := parameters[one]; !ok {
			missing[one] = true
			parameters[one] = "0"
		}
	}
	_, stated := budget["spent"]
	budget.fill("spent", predicate{amount: "0"})
	m, err := p.manifest()
	if err != nil {
		return nil, err
	}
	if missing[amount] {
		total := export.RoundUp(export.Loss(name, m.Privacy.Mechanisms), 12)
		parameters[amount] = total.String()
	}
	if m, err = p.manifest(); err != nil {
		return nil, err
	}
	if name == export.ZCDP && missing["epsilon"] && m.Privacy.Parameters.Delta != nil {
		parameters["epsilon"] = export.SmallestEpsilon(*m.Privacy.Parameters.Delta, *m.Privacy.Parameters.Rho, 9).String()
		if m, err = p.manifest(); err != nil {
			return nil, err
		}
	}
	if stated {
		return m, nil
	}
	before, err := c.before(a, m)
	if err != nil {
		return nil, err
	}
	budget["spent"] = predicate{amount: before.Plus(m.Privacy.Amount()).String()}
	if m, err = p.manifest(); err != nil {
		return nil, err
	}
	if err := m.Privacy.Check(); err != nil {
		return nil, term.ExitWith(term.ExitNo, errors.New(export.Reason(err)))
	}
	return m, nil
}

// manifest reads the predicate as a manifest.
func (p predicate) manifest() (*export.Manifest, error) {
	subjects := []any{}
	for _, f := range p.objects("files") {
		subjects = append(subjects, predicate{"name": f["name"], "digest": f["digest"]})
	}
	text, err := json.Marshal(predicate{"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": export.PredicateType, "predicate": p})
	if err != nil {
		return nil, err
	}
	m, err := export.ReadStatement(text)
	if err != nil {
		return nil, term.ExitWith(term.ExitNo, errors.New(export.Reason(err)))
	}
	return m, nil
}

// before returns what was spent of the budget before.
func (c *exportManifestCreateCmd) before(a *term.App, m *export.Manifest) (export.Decimal, error) {
	switch {
	case c.SpentBefore != "" && c.Stream != "":
		return export.Decimal{}, errors.New("--spent-before and --stream exclude each other")
	case c.SpentBefore != "":
		d, err := export.ParseDecimal(c.SpentBefore)
		if err != nil {
			return d, fmt.Errorf("--spent-before: %q is %w", c.SpentBefore, err)
		}
		return d, nil
	case c.Stream == "":
		return export.Decimal{}, errors.New("what was spent of the budget before is not known: use --stream with an evidence bundle of the tenant, or --spent-before, which is 0 for a new budget")
	case c.StreamKey == "" || len(c.Policy) == 0:
		return export.Decimal{}, errors.New("--stream requires --stream-key and --policy, so that no spend can be missing")
	}
	policies, err := datadir.LoadPolicies(c.Policy)
	if err != nil {
		return export.Decimal{}, err
	}
	key, err := datadir.ReadStreamKey(c.StreamKey)
	if err != nil {
		return export.Decimal{}, fmt.Errorf("--stream-key: %w", err)
	}
	f, size, err := interrupt.OpenRegular(c.Stream)
	if err != nil {
		return export.Decimal{}, err
	}
	defer f.Close()
	s, err := spendsIn(a, f, size, policies, key, m)
	return s.Sum, remote.NotFound(err)
}
