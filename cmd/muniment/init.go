package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/pebblestore"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/sigstore"
)

type initCmd struct {
	Dir    string `arg:"" help:"Folder to make; it must not exist, or be empty."`
	Origin string `help:"The log's name, for ever: a host name, or a URL without its scheme. Default: this machine's host name." placeholder:"HOST"`
	Tenant string `help:"Name of the first tenant." default:"default"`

	PostQuantum bool `help:"Also make an ML-DSA-44 cosigner key, and policy.pq for those who verify with it."`

	RekorOrigin string `help:"Also make a log for Sigstore's clients, which 'serve --rekor-listen' serves: the host of its URL, without port. In a folder that is a log already, only this one is made." placeholder:"HOST"`
	TSA         bool   `name:"tsa" help:"With --rekor-origin: also make a timestamp authority (RFC 3161) beside it."`
}

func (initCmd) Help() string {
	return `Makes DIR/muniment.yaml, DIR/log.key (signs the log), DIR/policy (what verifiers need), DIR/tokens/NAME.token and
DIR/streams/NAME.key (the tenant's). Back up log.key: without it the log can't go on.

Examples:
  muniment init ./data --origin ledger.example.com --tenant acme
  muniment init ./data --rekor-origin rekor.example.com --tsa
  muniment serve --data ./data`
}

func (c *initCmd) Run(a *app) error {
	rekorFiles, err := c.rekorFiles()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(c.Dir, configFile)); err == nil && len(rekorFiles) > 0 {
		return c.addRekor(a, rekorFiles)
	}
	if c.Origin == "" {
		c.Origin, _ = os.Hostname()
	}
	if err := checkOrigin(c.Origin); err != nil {
		return fmt.Errorf("--origin: %w", err)
	}
	if err := receipt.CheckTenantName(c.Tenant); err != nil {
		return fmt.Errorf("--tenant: %w", err)
	}
	if err := makeDataFolder(c.Dir); err != nil {
		return err
	}
	skey, vkey, err := note.GenerateKey(rand.Reader, c.Origin)
	if err != nil {
		return err
	}
	tenant, err := addTenant(c.Dir, c.Tenant)
	if err != nil {
		return err
	}
	extra := rekorFiles
	if c.PostQuantum {
		pq, err := postQuantumFiles(c.Origin)
		if err != nil {
			return err
		}
		extra = append(extra, pq...)
	}
	if err := os.MkdirAll(filepath.Join(c.Dir, rootsDir), 0o700); err != nil {
		return err
	}
	if err := pebblestore.CreateMark(filepath.Join(c.Dir, storeDir)); err != nil {
		return err
	}
	if c.RekorOrigin != "" {
		if err := pebblestore.CreateMark(filepath.Join(c.Dir, rekorStoreDir)); err != nil {
			return err
		}
	}
	if err := writeFiles(c.Dir, append(extra, []newFile{
		{filepath.Join(rootsDir, policy.DefaultRoot+rootSuffix), string(sigstore.PublicGoodJSON()), 0o644},
		{keyFile, skey + "\n", 0o600},
		{policyFile, receipt.FormatPolicy(vkey), 0o644},
		{configFile, fmt.Sprintf(configTemplate, c.Origin) + tenant, 0o600}, // last: with it the folder is complete
	}...)); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, `Made the log %s in %s:

  %-22s configuration
  %-22s signs the log: back it up, and keep it secret
  %-22s give it to everybody who verifies receipts
  %-22s tenant %s's first token, of the role admin
  %-22s tenant %s's stream key: for auditors of its stream
  %-22s whose signatures on evidence are trusted

%sNext:
  muniment serve --data %s%s
`, c.Origin, c.Dir, configFile, keyFile, policyFile, filepath.Join(tokenDir, c.Tenant+".token"), c.Tenant, filepath.Join(streamDir, c.Tenant+".key"), c.Tenant,
		rootsDir+"/", c.rekorSummary(), c.Dir, c.rekorFlag())
	return nil
}

// A newFile is one to be written into a data folder.
type newFile struct {
	name, content string
	mode          os.FileMode
}

func writeFiles(dir string, files []newFile) error {
	for _, f := range files {
		if err := writeNew(filepath.Join(dir, f.name), f.content, f.mode); err != nil {
			return err
		}
	}
	return nil
}

type tenantCmd struct {
	Add  tenantAddCmd  `cmd:"" help:"Add a tenant: makes its token and stream key."`
	List tenantListCmd `cmd:"" help:"List the tenants and their stream IDs."`
}

type tenantAddCmd struct {
	Name string `arg:"" help:"1 to 63 of a-z, 0-9 and -."`
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
}

func (tenantAddCmd) Help() string {
	return `Restart the server afterwards.

Example:
  muniment tenant add globex --data ./data`
}

func (c *tenantAddCmd) Run(a *app) error {
	d, err := loadDataDir(c.Data)
	if err != nil {
		return err
	}
	if d.replica != nil {
		return fmt.Errorf("--data: %s is a replica: tenants are added to the log itself", c.Data)
	}
	for _, t := range d.config.Tenants {
		if t.Name == c.Name {
			return fmt.Errorf("tenant %q is there already", c.Name)
		}
	}
	lines, err := addTenant(c.Data, c.Name)
	if err != nil {
		return err
	}
	path := filepath.Join(c.Data, configFile)
	old, err := bounded.ReadFile(path, bounded.Config)
	if err != nil {
		return err
	}
	// Appending keeps the comments; it is right as long as the list of tenants ends the file.
	text := strings.TrimRight(string(old), "\n") + "\n" + lines
	var check serverConfig
	if err := yaml.Unmarshal([]byte(text), &check); err != nil || len(check.Tenants) != len(d.config.Tenants)+1 {
		return fmt.Errorf("%s: the list of tenants is not at the end, so nothing was changed; add this to it by hand:\n\n%s", path, lines)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "Added tenant %s:\n  %s\n  %s\nRestart the server to let it in.\n", c.Name,
		filepath.Join(c.Data, tokenDir, c.Name+".token"), filepath.Join(c.Data, streamDir, c.Name+".key"))
	return nil
}

type tenantListCmd struct {
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	JSON bool   `help:"Print one JSON object for each tenant."`
}

func (tenantListCmd) Help() string {
	return `Example:
  muniment tenant list --data ./data`
}

func (c *tenantListCmd) Run(a *app) error {
	d, err := loadDataDir(c.Data)
	if err != nil {
		return err
	}
	for _, t := range d.tenants {
		if c.JSON {
			o := struct {
				Name     string `json:"name"`
				StreamID string `json:"streamId"`
				Tokens   int    `json:"tokens"`
			}{t.Name, t.Stream.ID.String(), len(t.Tokens)}
			if err := writeJSON(a.stdout, o); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(a.stdout, "%-24s stream %s  tokens %d\n", t.Name, t.Stream.ID, len(t.Tokens))
	}
	return nil
}
