package operate

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/api/rekor"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/logkey"
	"muniment.dev/muniment/ledger/store"
)

// In a rotation, a new key signs beside the old one for a while, so that
// verifiers with either policy accept new receipts. Then the old key is
// retired. keys.yaml lists the keys. A log that never rotated has the key
// log.key and no such file.

type keysCmd struct {
	List   keysListCmd   `cmd:"" help:"List the log's keys, including retired ones."`
	Rotate keysRotateCmd `cmd:"" help:"Sign with a new key beside the old one."`
	Retire keysRetireCmd `cmd:"" help:"Stop signing with the old key."`
}

type keysListCmd struct {
	Data             string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	term.ResultFlags `set:"json=Print one JSON object for each key."`
}

func (keysListCmd) Help() string {
	return `Exit code: 0 listed; 2 failed.

Example:
  muniment keys list --data ./data`
}

func (c *keysListCmd) Run(a *term.App) error {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	var rows []keyRow
	for i := range d.Keys {
		rows = append(rows, keyRow{&d.Keys[i]})
	}
	return term.PrintRows(a, c.ResultFlags, rows, "")
}

type keyRow struct{ *datadir.KeyRecord }

func (r keyRow) Text() string {
	state := "signs"
	if r.Retired != nil {
		state = "retired " + r.Retired.Format(time.DateOnly)
	}
	return fmt.Sprintf("%-40s %-18s %s\n", r.ID(), state, r.Source)
}

type keysRotateCmd struct {
	Data   string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	Source string `help:"The new Ed25519 key: file:PATH, env:NAME or ssh-agent:SHA256:HASH. Default: a new key in a new file." placeholder:"SOURCE"`
	Rekor  bool   `help:"Rotate the key of the Rekor log instead."`
	term.ResultFlags
}

func (keysRotateCmd) Help() string {
	return `After a restart both keys sign every checkpoint, so receipts verify under the old policy and under the new one. Distribute the new policy, give the
witnesses the new key, and then end the overlap with 'muniment keys retire'.

Exit code: 0 rotated; 2 failed.

Examples:
  muniment keys rotate --data ./data
  muniment keys rotate --data ./data --source ssh-agent:SHA256:5dn0…`
}

func (c *keysRotateCmd) Run(a *term.App) error {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	if err := datadir.Settle(c.Data); err != nil {
		return err
	}
	if c.Rekor {
		return c.rotateRekor(a)
	}
	if n := 1 + len(d.Overlap); n > 1 {
		return fmt.Errorf("%d keys already sign: first retire the old one with: muniment keys retire %s --data %s", n, d.Keys[len(d.Keys)-n].ID(), c.Data)
	}
	text, err := bounded.ReadFile(filepath.Join(c.Data, datadir.PolicyFile), bounded.Config)
	if err != nil {
		return err
	}
	old := d.Keys
	if err := c.writePolicy(&old[len(old)-1], text); err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	fresh := datadir.KeyRecord{Source: c.Source, From: &now}
	if c.Source == "" {
		if fresh.Source, fresh.Key, err = newKeyFile(c.Data, d.Config.Origin); err != nil {
			return err
		}
	} else {
		k, err := logkey.Open(c.Source, c.Data, d.Config.Origin)
		if err != nil {
			return fmt.Errorf("--source: %w", err)
		}
		fresh.Key = k.Verifier
	}
	for i := range old {
		if old[i].Key == fresh.Key {
			return fmt.Errorf("--source: %s is or was a key of this log, and a key is never used again", fresh.ID())
		}
	}
	if text, err = withLogKey(text, fresh.Key); err != nil {
		return err
	}
	if err := c.writePolicy(&fresh, text); err != nil {
		return err
	}
	if err := datadir.WriteKeys(c.Data, append(old, fresh)); err != nil {
		return err // once it is written, the key is in use
	}
	if err := datadir.ReplaceOwned(filepath.Join(c.Data, datadir.PolicyFile), text); err != nil {
		return err
	}
	last := &old[len(old)-1]
	return c.Print(a, &rotation{data: c.Data, Key: fresh.ID(), VerifierKey: fresh.Key, Policy: filepath.Join(c.Data, datadir.PolicyFile), OldKey: last.ID(), OldPolicy: filepath.Join(c.Data, last.PolicyPath())})
}

// A rotation is the result of keys rotate.
type rotation struct {
	data        string
	Key         string `json:"key"`
	VerifierKey string `json:"verifierKey"`
	Policy      string `json:"policy"`
	OldKey      string `json:"oldKey"`
	OldPolicy   string `json:"oldPolicy"`
}

func (r *rotation) Text() string {
	return fmt.Sprintf(`The log has a new key: %s
From the next start of the server on, both keys sign.

  1. Restart the server.
  2. Distribute %s in place of the old policy, which stays valid as %s.
  3. Give the witnesses the new key: %s
  4. When the old key is no longer needed: muniment keys retire %s --data %s
`, r.Key, r.Policy, r.OldPolicy, r.VerifierKey, r.OldKey, r.data)
}

// writePolicy writes the key's own policy file.
func (c *keysRotateCmd) writePolicy(r *datadir.KeyRecord, text []byte) error {
	path := filepath.Join(c.Data, r.PolicyPath())
	if err := owner.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return datadir.ReplaceOwned(path, text)
}

// newKeyFile makes a key and returns its source and verifier key.
func newKeyFile(dir, origin string) (source, vkey string, err error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return "", "", err
	}
	if err := owner.MkdirAll(filepath.Join(dir, datadir.KeysDir), 0o700); err != nil {
		return "", "", err
	}
	hash := strings.SplitN(vkey, "+", 3)[1]
	name := filepath.Join(datadir.KeysDir, hash+".key")
	return "file:" + name, vkey, datadir.WriteNew(filepath.Join(dir, name), skey+"\n", 0o600)
}

// withLogKey returns the policy with another log key and the same witnesses.
func withLogKey(policy []byte, vkey string) ([]byte, error) {
	lines := strings.Split(string(policy), "\n")
	for i, line := range lines {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "log" {
			fields[1] = vkey
			lines[i] = strings.Join(fields, " ")
		}
	}
	out := []byte(strings.Join(lines, "\n"))
	_, err := datadir.ParsePolicy(datadir.PolicyFile, out)
	return out, err
}

type keysRetireCmd struct {
	ID   string `arg:"" help:"ID of the key, as printed by 'muniment keys list'." predictor:"key"`
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	term.ResultFlags
}

func (keysRetireCmd) Help() string {
	return `Receipts that only the old key signed still verify under its policy file if that requires witnesses: a thief of the key cannot get their cosignatures
for a forged past. Without a witness quorum the old key's policy must not be trusted any more, and is removed from policies/. First move receipts to the new
key with 'muniment receipt refresh'.

Exit code: 0 retired; 2 failed.

Example:
  muniment keys retire ledger.example.com+1a2b3c4d --data ./data`
}

func (c *keysRetireCmd) Run(a *term.App) error {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	if err := datadir.Settle(c.Data); err != nil {
		return err
	}
	at, signing := -1, 0
	for i := range d.Keys {
		if d.Keys[i].Retired == nil {
			signing++
		}
		if d.Keys[i].ID() == c.ID {
			at = i
		}
	}
	switch {
	case at < 0:
		return fmt.Errorf("there is no key %s: list the keys with: muniment keys list --data %s", c.ID, c.Data)
	case d.Keys[at].Retired != nil:
		return fmt.Errorf("%s was retired at %s", c.ID, d.Keys[at].Retired.Format(time.RFC3339))
	case signing == 1:
		return fmt.Errorf("%s is the only key that signs: first make another one with: muniment keys rotate --data %s", c.ID, c.Data)
	case logkey.ID(d.Signer) == c.ID:
		return fmt.Errorf("%s is the newest key, which the log's policy names: retire the older one", c.ID)
	}
	now := time.Now().UTC().Truncate(time.Second)
	d.Keys[at].Retired = &now
	if err := datadir.WriteKeys(c.Data, d.Keys); err != nil {
		return err
	}
	path := filepath.Join(c.Data, d.Keys[at].PolicyPath())
	p, err := datadir.ReadPolicyFile(path)
	if err != nil {
		return err
	}
	r := &retirement{data: c.Data, Key: c.ID, Policy: path, Trusted: p.RequiresWitness()}
	if !r.Trusted {
		if err := datadir.SettlePolicies(c.Data, d.Keys); err != nil {
			return err
		}
		r.Policy += datadir.UntrustedSuffix
	}
	return c.Print(a, r)
}

// A retirement is the result of keys retire.
type retirement struct {
	data    string
	Key     string `json:"key"`
	Policy  string `json:"policy"`  // of the retired key
	Trusted bool   `json:"trusted"` // whether receipts still verify under it
}

func (r *retirement) Text() string {
	if r.Trusted {
		return fmt.Sprintf("From the next start of the server on, %s does not sign. Its policy, %s, requires witnesses and stays valid for receipts of its time.\n", r.Key, r.Policy)
	}
	return fmt.Sprintf(`From the next start of the server on, %s does not sign.
Its policy requires no witness, so a thief of the old key could forge the past. The policy is now %s and must not be trusted.
Receipts that only the old key signed no longer verify. Move them to the new key: muniment receipt refresh FILE… --policy %s
`, r.Key, r.Policy, filepath.Join(r.data, datadir.PolicyFile))
}

// rotateRekor gives the Rekor log a new key. Bundles name the key by its log
// ID, so there is no overlap: the trusted root lists both keys, each with its
// period of validity.
func (c *keysRotateCmd) rotateRekor(a *term.App) error {
	if c.Source != "" {
		return errors.New("--source: the Rekor log's key is always a file: remove --source")
	}
	signer, keys, err := datadir.LoadRekorKeys(c.Data)
	if err != nil {
		return err
	}
	// A running server would sign with the old key after the end of its period
	// of validity.
	s, err := datadir.OpenStore(a.Ctx, c.Data, datadir.RekorStore(signer.Name()), a.Logger("text"))
	if errors.Is(err, store.ErrInUse) {
		return fmt.Errorf("%w, rotate, and start it again", err)
	} else if err != nil {
		return err
	}
	defer s.Close()
	skey, vkey, err := note.GenerateKey(rand.Reader, signer.Name())
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	fresh, err := rekor.NewKey(vkey, now)
	if err != nil {
		return err
	}
	keys[len(keys)-1].ValidUntil = &now
	if err := replaceRekorKey(c.Data, skey, append(keys, fresh)); err != nil {
		return err
	}
	return c.Print(a, &rekorRotation{VerifierKey: vkey, OldKey: logkey.ID(signer)})
}

// A rekorRotation is the result of keys rotate --rekor.
type rekorRotation struct {
	VerifierKey string `json:"verifierKey"`
	OldKey      string `json:"oldKey"`
}

func (r *rekorRotation) Text() string {
	return fmt.Sprintf(`The Rekor log has a new key in place of %s. Start the server, and distribute the trusted root again (muniment trusted-root --server URL).
It lists both keys, the old one with its end of validity, so older bundles still verify.
`, r.OldKey)
}

// replaceRekorKey writes key and list so that an interruption leaves either the
// old pair, or the new list and a new key that LoadRekorKeys uses.
func replaceRekorKey(dir, skey string, keys []rekor.Key) error {
	list, err := json.MarshalIndent(keys, "", "  ")
	if err != nil {
		return err
	}
	fresh := filepath.Join(dir, datadir.RekorKeyNew)
	// An earlier rotation may have left a key that was never used.
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := datadir.WriteNew(fresh, skey+"\n", 0o600); err != nil {
		return err
	}
	if err := datadir.ReplaceOwned(filepath.Join(dir, datadir.RekorKeysFile), append(list, '\n')); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(dir, datadir.RekorKeyFile))
}
