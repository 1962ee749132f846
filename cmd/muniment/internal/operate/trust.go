package operate

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/mldsa"
	fnote "github.com/transparency-dev/formats/note"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/receipt"
)

type trustCmd struct {
	AddWitness  trustAddWitnessCmd  `cmd:"" help:"Add a witness to the log's trust policy."`
	PostQuantum trustPostQuantumCmd `cmd:"" help:"Add an ML-DSA-44 cosigner key to the log, and a trust policy of post-quantum keys."`
	Show        trustShowCmd        `cmd:"" help:"Print the log's trust policies."`
}

type trustAddWitnessCmd struct {
	Name   string `arg:"" help:"Name of the witness in the policy."`
	Key    string `arg:"" help:"Its verifier key, NAME+HASH+KEY: an Ed25519 cosignature key, or an ML-DSA-44 key for policy.pq."`
	URL    string `arg:"" help:"Its submission prefix: the URL before /add-checkpoint."`
	Data   string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	Quorum string `help:"Number of witnesses that must cosign, or any or all. Default: unchanged, or all if there was no quorum." placeholder:"N"`
	term.ResultFlags
}

func (trustAddWitnessCmd) Help() string {
	return `Adds the witness to DIR/policy, or to DIR/policy.pq if its key is post-quantum, and to the quorum. Afterwards restart the server, and distribute the new
file to everyone who verifies receipts. Earlier receipts lack the witness's cosignature, and verify under the earlier file.

Exit code: 0 added; 2 failed.

Examples:
  muniment trust add-witness acme 'witness.acme.example+5ce1…+BL…' https://witness.acme.example --data ./data
  muniment trust add-witness globex 'witness.globex.example+91d0…+BK…' https://witness.globex.example --data ./data --quorum 2`
}

// managedGroup is the group that add-witness maintains. Policies with other
// groups are edited by hand.
const managedGroup = "witnesses"

func (c *trustAddWitnessCmd) Run(a *term.App) error {
	if !strings.HasPrefix(c.URL, "http://") && !strings.HasPrefix(c.URL, "https://") {
		return fmt.Errorf("%q is not an http or https URL", c.URL)
	}
	name := datadir.PolicyFile
	if _, err := fnote.NewMLDSAVerifier(c.Key); err == nil {
		name = datadir.PQPolicyFile
	}
	// An interrupted rotation would replace the policy later, without the
	// witness.
	if err := datadir.Settle(c.Data); err != nil {
		return err
	}
	path := filepath.Join(c.Data, name)
	text, err := bounded.ReadFile(path, bounded.Config)
	if errors.Is(err, os.ErrNotExist) && name == datadir.PQPolicyFile {
		return fmt.Errorf("this is an ML-DSA-44 key, and the log has no post-quantum policy: first make one with: muniment trust post-quantum --data %s", c.Data)
	} else if err != nil {
		return err
	}
	old, err := datadir.ParsePolicy(path, text)
	if err != nil {
		return err
	}
	line := strings.Join([]string{"witness", c.Name, c.Key, c.URL}, " ")
	updated, err := addWitness(string(text), line, c.Name, c.Quorum)
	if err != nil {
		return fmt.Errorf("%s: %w; add this line by hand:\n\n%s", path, err, line)
	}
	p, err := datadir.ParsePolicy(path, []byte(updated))
	if err != nil {
		return err
	}
	if len(p.Witnesses()) != len(old.Witnesses())+1 {
		return fmt.Errorf("%s: the witness's name must not contain spaces", path)
	}
	if err := datadir.ReplaceOwned(path, []byte(updated)); err != nil {
		return err
	}
	return c.Print(a, &addedWitness{newPolicyRow(p, updated)})
}

// An addedWitness is the result of trust add-witness: the new policy.
type addedWitness struct{ policyRow }

func (r *addedWitness) Text() string {
	return fmt.Sprintf("%s is now:\n\n%s\nGive the witness's operator the log's key:\n\n  %s\n\nThen restart the server, and distribute the new file to everyone who verifies receipts.\n", r.File, r.text, r.Log)
}

// addWitness adds the witness's line to the policy and its name to the managed
// group, which becomes the quorum.
func addWitness(text, witness, name, threshold string) (string, error) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	at := func(keyword string) int {
		return slices.IndexFunc(lines, func(l string) bool { f := strings.Fields(l); return len(f) > 0 && f[0] == keyword })
	}
	quorum := at("quorum")
	if quorum < 0 {
		return "", errors.New("no quorum line")
	}
	group := at("group")
	switch q := strings.Fields(lines[quorum])[1]; {
	case group < 0 && q == "none":
		if threshold == "" {
			threshold = "all"
		}
		lines[quorum] = fmt.Sprintf("group %s %s %s", managedGroup, threshold, name)
		lines = slices.Insert(lines, quorum+1, "quorum "+managedGroup)
		group = quorum
	case group >= 0 && q == managedGroup && strings.Fields(lines[group])[1] == managedGroup && at("group") == group && group < quorum:
		f := append(strings.Fields(lines[group]), name)
		if threshold != "" {
			f[2] = threshold
		}
		lines[group] = strings.Join(f, " ")
	default:
		return "", fmt.Errorf("the policy's quorum is neither none nor a group named %q, and is edited only by hand", managedGroup)
	}
	return strings.Join(slices.Insert(lines, group, witness), "\n") + "\n", nil
}

// LogLine returns the log's verifier key in the text of a policy, or "".
func LogLine(policy string) string {
	for _, l := range strings.Split(policy, "\n") {
		if f := strings.Fields(l); len(f) > 1 && f[0] == "log" {
			return f[1]
		}
	}
	return ""
}

type trustPostQuantumCmd struct {
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	term.ResultFlags
}

func (trustPostQuantumCmd) Help() string {
	return `Makes DIR/log.pq.key and DIR/policy.pq. The log is still signed by its Ed25519 key. After a restart of the server the new key cosigns its checkpoints, and
verifiers that use policy.pq rely on no key that a quantum computer could break.

Exit code: 0 made; 2 failed, for example because the files exist.

Example:
  muniment trust post-quantum --data ./data`
}

func (c *trustPostQuantumCmd) Run(a *term.App) error {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	files, err := postQuantumFiles(d.Config.Origin)
	if err != nil {
		return err
	}
	if err := datadir.WriteFiles(c.Data, files); err != nil {
		return err
	}
	return c.Print(a, &term.Made{Title: "Made in " + c.Data, Origin: d.Config.Origin, Folder: c.Data, Files: postQuantumMade(), Next: []string{"restart the server"}})
}

func postQuantumMade() []term.MadeFile {
	return []term.MadeFile{
		{File: datadir.PQKeyFile, Purpose: "cosigns the log: back it up, and keep it secret"},
		{File: datadir.PQPolicyFile, Purpose: "for verifiers that use post-quantum keys"},
	}
}

// postQuantumFiles makes a cosigner key for the log and the policy that trusts
// only that key.
func postQuantumFiles(origin string) ([]datadir.File, error) {
	skey, vkey, err := fnote.GenerateMLDSAKey(origin)
	if err != nil {
		return nil, err
	}
	return []datadir.File{{Name: datadir.PQKeyFile, Content: skey + "\n", Mode: 0o600}, {Name: datadir.PQPolicyFile, Content: receipt.FormatTrustPolicy(vkey), Mode: 0o644}}, nil
}

type trustShowCmd struct {
	Data             string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	term.ResultFlags `set:"json=Print one JSON object for each policy."`
}

func (trustShowCmd) Help() string {
	return `Exit code: 0 shown; 2 failed.

Example:
  muniment trust show --data ./data`
}

func (c *trustShowCmd) Run(a *term.App) error {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	policies, _, err := d.LoadPolicies()
	if err != nil {
		return err
	}
	var rows []policyRow
	for _, p := range policies {
		text, err := bounded.ReadFile(p.Name, bounded.Config)
		if err != nil {
			return err
		}
		rows = append(rows, newPolicyRow(p, string(text)))
	}
	return term.PrintRows(a, c.ResultFlags, rows, "")
}

// A policyRow describes a trust policy.
type policyRow struct {
	text        string
	File        string       `json:"file"`
	Origin      string       `json:"origin"`
	Log         string       `json:"log"`
	PostQuantum bool         `json:"postQuantum"`
	Witnessed   bool         `json:"witnessed"`
	Witnesses   []witnessRow `json:"witnesses"`
}

type witnessRow struct {
	Name string `json:"name"`
	Key  string `json:"key"`
	URL  string `json:"url,omitempty"`
}

func newPolicyRow(p *receipt.TrustPolicy, text string) policyRow {
	r := policyRow{text, p.Name, p.Origin(), LogLine(text), p.PostQuantum(), p.RequiresWitness(), []witnessRow{}}
	for _, x := range p.Witnesses() {
		r.Witnesses = append(r.Witnesses, witnessRow{x.Name, fmt.Sprintf("%s+%08x", x.Key.Name(), x.Key.KeyHash()), x.URL})
	}
	return r
}

func (r policyRow) Text() string { return fmt.Sprintf("# %s\n%s", r.File, r.text) }

// verifierKey returns the verifier key of a private cosigner key.
func verifierKey(skey string) (string, error) {
	f := strings.SplitN(skey, "+", 5)
	if len(f) != 5 {
		return "", errors.New("not a cosigner key")
	}
	key, err := base64.StdEncoding.DecodeString(f[4])
	if err != nil || len(key) != 1+ed25519.SeedSize { // ML-DSA-44 keys have seeds of the same size
		return "", errors.New("not a cosigner key")
	}
	public := append([]byte{4}, ed25519.NewKeyFromSeed(key[1:]).Public().(ed25519.PublicKey)...)
	if key[0] == 6 {
		k, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), key[1:])
		if err != nil {
			return "", errors.New("not a cosigner key")
		}
		public = append([]byte{6}, k.PublicKey().Bytes()...)
	}
	sum := sha256.Sum256(append([]byte(f[2]+"\n"), public...))
	return fmt.Sprintf("%s+%x+%s", f[2], sum[:4], base64.StdEncoding.EncodeToString(public)), nil
}
