package operate

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/seal"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/sigstore"
)

type initCmd struct {
	Dir    string `arg:"" help:"Folder to make. It must not exist, or must be empty."`
	Origin string `help:"The log's name, which can never be changed: a host name, or a URL without its scheme. Default: this machine's host name." placeholder:"HOST"`
	Tenant string `help:"Name of the first tenant." default:"default"`

	PostQuantum bool `help:"Also make an ML-DSA-44 cosigner key, and policy.pq for verifiers that use it."`

	RekorOrigin string `help:"Also make a log for Sigstore's clients, which 'serve --rekor-listen' serves. HOST is the host of its URL, without port. In the folder of an existing log, only this log is added." placeholder:"HOST"`
	CopyOf      string `help:"Make the folder of a further server of a log whose store several servers share, from the data folder of another one. In an earlier copy, replace its files." placeholder:"DIR" type:"path"`
	TSA         bool   `name:"tsa" help:"With --rekor-origin: also make a timestamp authority (RFC 3161) beside it."`

	term.ResultFlags
}

func (initCmd) Help() string {
	return `Makes DIR/muniment.yaml, DIR/log.key (signs the log), DIR/policy (for verifiers), DIR/gate.key (signs attestations of decisions), and DIR/tokens/NAME.token and
DIR/streams/NAME.key (for the tenant). Back up log.key: without it the log cannot continue.

Exit code: 0 made; 2 failed, and an existing folder is unchanged.

Examples:
  muniment init ./data --origin ledger.example.com --tenant acme
  muniment init ./second --copy-of ./data
  muniment init ./data --rekor-origin rekor.example.com --tsa
  muniment serve --data ./data`
}

func (c *initCmd) Run(a *term.App) error {
	if c.CopyOf != "" {
		return c.copyFolder(a)
	}
	rekorFiles, err := c.rekorFiles()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(c.Dir, datadir.ConfigFile)); err == nil && len(rekorFiles) > 0 {
		return c.addRekor(a, rekorFiles)
	}
	if c.Origin == "" {
		host, err := os.Hostname()
		if err != nil || !strings.Contains(strings.Trim(host, "."), ".") {
			return fmt.Errorf("--origin: this machine's name, %q, is not a full host name, and the origin can never be changed: give one, such as --origin ledger.example.com", host)
		}
		c.Origin = host
	}
	if err := datadir.CheckOrigin(c.Origin); err != nil {
		return fmt.Errorf("--origin: %w", err)
	}
	if err := entry.CheckTenantName(c.Tenant); err != nil {
		return fmt.Errorf("--tenant: %w", err)
	}
	if err := datadir.MakeFolder(c.Dir); err != nil {
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
	operator, err := addOperator(c.Dir, FirstOperator)
	if err != nil {
		return err
	}
	gate, err := datadir.GateFiles()
	if err != nil {
		return err
	}
	extra := append(append(rekorFiles, gate...), datadir.File{Name: datadir.SharedKeyFile, Content: seal.Generate(), Mode: 0o600})
	if c.PostQuantum {
		pq, err := postQuantumFiles(c.Origin)
		if err != nil {
			return err
		}
		extra = append(extra, pq...)
	}
	if err := owner.MkdirAll(filepath.Join(c.Dir, datadir.RootsDir), 0o700); err != nil {
		return err
	}
	if err := mark.Create(filepath.Join(c.Dir, datadir.StoreDir)); err != nil {
		return err
	}
	if c.RekorOrigin != "" {
		if err := mark.Create(filepath.Join(c.Dir, datadir.RekorStoreDir)); err != nil {
			return err
		}
	}
	if err := datadir.WriteFiles(c.Dir, append(extra, []datadir.File{
		{Name: filepath.Join(datadir.RootsDir, policy.DefaultRoot+datadir.RootSuffix), Content: string(sigstore.PublicGoodJSON()), Mode: 0o644},
		{Name: datadir.KeyFile, Content: skey + "\n", Mode: 0o600},
		{Name: datadir.PolicyFile, Content: receipt.FormatTrustPolicy(vkey), Mode: 0o644},
		// last: with it the folder is complete
		{Name: datadir.ConfigFile, Content: fmt.Sprintf(datadir.ConfigTemplate, c.Origin, operator) + tenant, Mode: 0o600},
	}...)); err != nil {
		return err
	}
	return c.Print(a, &term.Made{Title: fmt.Sprintf("Made the log %s in %s", c.Origin, c.Dir), Origin: c.Origin, Folder: c.Dir, Files: append(c.madeFiles(), c.madeRekorFiles()...), Next: c.next()})
}

// madeFiles describes the files that users need.
func (c *initCmd) madeFiles() []term.MadeFile {
	files := []term.MadeFile{
		{File: datadir.ConfigFile, Purpose: "configuration"},
		{File: datadir.KeyFile, Purpose: "signs the log: back it up, and keep it secret"},
		{File: datadir.PolicyFile, Purpose: "for everyone who verifies receipts"},
		{File: datadir.GateKeyFile, Purpose: "signs attestations of what gates let through: back it up, and keep it secret"},
		{File: datadir.GatePublicKeyFile, Purpose: "for everyone who verifies these attestations"},
		{File: datadir.SharedKeyFile, Purpose: "for several servers on one log: encrypts what they share, keep it secret"},
		{File: tenantToken(c.Tenant), Purpose: fmt.Sprintf("tenant %s's first token, with the role admin", c.Tenant)},
		{File: tenantStreamKey(c.Tenant), Purpose: fmt.Sprintf("tenant %s's stream key, for auditors of its stream", c.Tenant)},
		{File: OperatorToken(FirstOperator), Purpose: "your token for /metrics and the details of /readyz"},
		{File: datadir.RootsDir + "/", Purpose: "whose signatures on evidence are trusted"},
	}
	if c.PostQuantum {
		files = append(files, postQuantumMade()...)
	}
	return files
}

func (c *initCmd) next() []string {
	command := "muniment serve --data " + c.Dir
	if c.RekorOrigin != "" {
		command += " --rekor-listen 127.0.0.1:7481"
	}
	return []string{command}
}
