package operate

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/receipt"
)

type replicaInitCmd struct {
	Dir     string            `arg:"" help:"Folder to make. It must not exist, or must be empty."`
	Policy  string            `help:"Policy file of the log. Every import is verified with its keys." required:"" env:"MUNIMENT_POLICY" predictor:"file"`
	Tenants map[string]string `name:"tenant" help:"Tenant whose evidence the replica contains, and its stream key, which proves that each import is complete. May be repeated." required:"" placeholder:"NAME=KEY-FILE"`
	Tokens  map[string]string `name:"token" help:"ID and file of a token that the replica accepts, with the role reader. A tenant without one gets a new token. May be repeated." placeholder:"ID=TOKEN-FILE"`
	Update  bool              `help:"Accept a folder that is a replica of this log with these tenants already. It keeps its evidence, and gets the policy and the tokens. Any other folder is refused."`
	term.ResultFlags
}

func (replicaInitCmd) Help() string {
	return `A replica is a read-only copy of a log, with the evidence of some tenants, for a machine that cannot reach the log, or must not depend on it. Imported deltas
update it, or it follows the log's server. The tokens of a replica are valid for this replica only: it does not learn of tokens that the log issues or revokes.

With --update the command can run before each start of the server. An interrupted run leaves nothing behind that a later one would refuse.

Exit code: 0 made or updated; 2 failed, and an existing folder is unchanged.

Examples:
  muniment replica init ./replica --policy policy --tenant acme=acme.key
  muniment import acme-4711.delta --data ./replica
  muniment serve --data ./replica
  muniment replica init ./replica --update --policy policy --tenant acme=acme.key --token admission=admission.token`
}

const replicaTemplate = `# The configuration of a replica of a Muniment log. The server reads it when it starts.

# The log that this is a copy of. Its keys are in the file policy.
origin: %q

# A replica serves reads. It grows by deltas (muniment import FILE --data .), or
# follows the log's server (muniment serve --follow URL).
replica: true

# Address to listen on. --listen overrides it.
listen: 127.0.0.1:7480

# Serve /tlog/ without a token.
public_tlog: true

# Serve HTTPS: PEM files, relative to this folder.
# tls:
#   cert: server.crt
#   key: server.key

limits:
  # An import writes nothing when the disk has less free space than this.
  disk_reserve_bytes: 536870912
  # Open connections.
  connections: 8192

# The tenants whose evidence the replica contains, with the SHA-256 of their tokens.
tenants:
`

// replicaRole is the role of the tokens of a replica, which only serves reads.
const replicaRole = "reader"

// A replicaSpec has what the flags of replica init describe.
type replicaSpec struct {
	policyText []byte
	policy     *receipt.TrustPolicy
	tenants    []string // in order
	keys       map[string]*entry.StreamKey
	tokens     map[string][]givenToken // by tenant, in the order of IDs
}

// A givenToken is a token that its callers have already.
type givenToken struct {
	id   string
	hash [sha256.Size]byte
}

func (c *replicaInitCmd) spec() (*replicaSpec, error) {
	s := &replicaSpec{tenants: slices.Sorted(maps.Keys(c.Tenants)), keys: map[string]*entry.StreamKey{}, tokens: map[string][]givenToken{}}
	var err error
	if s.policyText, err = bounded.ReadFile(c.Policy, bounded.Config); err != nil {
		return nil, fmt.Errorf("--policy: %w", err)
	}
	if s.policy, err = datadir.ParsePolicy(c.Policy, s.policyText); err != nil {
		return nil, err
	}
	if s.policy.PostQuantum() {
		return nil, errors.New("--policy: give the policy with the log's Ed25519 key, which signs deltas")
	}
	for _, name := range s.tenants {
		if err := entry.CheckTenantName(name); err != nil {
			return nil, fmt.Errorf("--tenant %s: %w", name, err)
		}
		if s.keys[name], err = datadir.ReadStreamKey(c.Tenants[name]); err != nil {
			return nil, fmt.Errorf("--tenant %s: %w", name, err)
		}
	}
	return s, c.readTokens(s)
}

func (c *replicaInitCmd) readTokens(s *replicaSpec) error {
	ids := map[[sha256.Size]byte]string{}
	for _, id := range slices.Sorted(maps.Keys(c.Tokens)) {
		if !datadir.GrantID.MatchString(id) {
			return fmt.Errorf("--token %s: the ID must be 1 to 63 of a-z, 0-9, dot, _ and -, with a letter or digit at both ends", id)
		}
		token, err := remote.ReadLedgerToken(c.Tokens[id])
		if err != nil {
			return fmt.Errorf("--token %s: %w", id, err)
		}
		tenant := muniment.TenantOfToken(token)
		if s.keys[tenant] == nil {
			return fmt.Errorf("--token %s: it is a token of the tenant %q, which this replica does not have: give --tenant %s=KEY-FILE", id, tenant, tenant)
		}
		t := givenToken{id, sha256.Sum256([]byte(token))}
		if other, ok := ids[t.hash]; ok {
			return fmt.Errorf("--token %s: it is the same token as %s", id, other)
		}
		ids[t.hash] = id
		s.tokens[tenant] = append(s.tokens[tenant], t)
	}
	return nil
}

func (c *replicaInitCmd) Run(a *term.App) error {
	s, err := c.spec()
	if err != nil {
		return err
	}
	if !c.Update {
		if err := s.write(c.Dir); err != nil {
			return err
		}
		return c.Print(a, s.made(c.Dir))
	}
	if _, err := os.Lstat(filepath.Join(c.Dir, datadir.ConfigFile)); err == nil {
		return c.update(a, s)
	}
	if err := s.writeWhole(c.Dir); err != nil {
		return err
	}
	return c.Print(a, s.made(c.Dir))
}

// write makes the folder. If it is interrupted, it leaves an incomplete folder,
// which has no configuration.
func (s *replicaSpec) write(dir string) error {
	if err := datadir.MakeFolder(dir); err != nil {
		return err
	}
	if err := mark.Create(filepath.Join(dir, datadir.StoreDir)); err != nil {
		return err
	}
	var tenants string
	for _, name := range s.tenants {
		lines, err := s.addTenant(dir, name)
		if err != nil {
			return err
		}
		tenants += lines
	}
	return datadir.WriteFiles(dir, []datadir.File{
		{Name: datadir.PolicyFile, Content: string(s.policyText), Mode: 0o644},
		// last: with it the folder is complete
		{Name: datadir.ConfigFile, Content: fmt.Sprintf(replicaTemplate, s.policy.Origin()) + tenants, Mode: 0o600},
	})
}

// addTenant writes the files of a tenant, and returns its lines for the
// configuration.
func (s *replicaSpec) addTenant(dir, name string) (string, error) {
	if len(s.tokens[name]) == 0 {
		return addTenantWith(dir, name, *s.keys[name], replicaRole)
	}
	if err := writeStreamKey(dir, name, *s.keys[name]); err != nil {
		return "", err
	}
	lines := tenantLines(name)
	for _, t := range s.tokens[name] {
		lines += datadir.TokenLines(t.id, replicaRole, t.hash)
	}
	return lines, nil
}

// writeWhole makes the folder under another name first, so that it exists only
// if it is complete.
func (s *replicaSpec) writeWhole(dir string) error {
	dir = filepath.Clean(dir)
	switch entries, err := os.ReadDir(dir); {
	case err == nil && len(entries) > 0:
		return fmt.Errorf("%s is not empty, and is not a replica: it has no %s. Choose another folder", dir, datadir.ConfigFile)
	case err == nil:
		if err := os.Remove(dir); err != nil {
			return fmt.Errorf("%w: with --update give a folder in the volume, not the volume itself", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	incomplete := dir + ".incomplete"
	if err := os.RemoveAll(incomplete); err != nil { // of an interrupted run
		return err
	}
	if err := s.write(incomplete); err != nil {
		return errors.Join(err, os.RemoveAll(incomplete))
	}
	if err := os.Rename(incomplete, dir); err != nil {
		return err
	}
	return wholefile.SyncPath(filepath.Dir(dir))
}

// update brings an existing replica to the spec. It checks everything before it
// writes.
func (c *replicaInitCmd) update(a *term.App, s *replicaSpec) error {
	d, err := datadir.Load(c.Dir)
	if err != nil {
		return err
	}
	if err := s.checkFolder(d); err != nil {
		return fmt.Errorf("%s: %w", c.Dir, err)
	}
	edit, changed, err := s.editTokens(d)
	if err != nil {
		return err
	}
	res := &term.Made{Origin: s.policy.Origin(), Folder: c.Dir, Files: []term.MadeFile{}}
	path := filepath.Join(c.Dir, datadir.PolicyFile)
	if before, err := bounded.ReadFile(path, bounded.Config); err != nil {
		return err
	} else if !bytes.Equal(before, s.policyText) {
		if err := datadir.ReplaceOwned(path, s.policyText); err != nil {
			return err
		}
		res.Files = append(res.Files, term.MadeFile{File: datadir.PolicyFile, Purpose: "the log's keys"})
	}
	if changed {
		if err := edit.Write(); err != nil {
			return err
		}
		res.Files = append(res.Files, term.MadeFile{File: datadir.ConfigFile, Purpose: "the tokens of its callers"})
	}
	res.Title = fmt.Sprintf("The replica of the log %s in %s is up to date", res.Origin, c.Dir)
	if len(res.Files) > 0 {
		res.Title = fmt.Sprintf("Updated the replica of the log %s in %s", res.Origin, c.Dir)
		res.Next = []string{"restart its server"}
	}
	return c.Print(a, res)
}

// checkFolder returns an error unless the folder is a replica of the log with
// the tenants, and its state verifies with the policy.
func (s *replicaSpec) checkFolder(d *datadir.Dir) error {
	if d.Replica == nil {
		return fmt.Errorf("it is the folder of the log %s itself, not of a replica: choose another folder", d.Config.Origin)
	}
	if d.Config.Origin != s.policy.Origin() {
		return fmt.Errorf("it is a replica of the log %s, but the policy is for %s: choose another folder", d.Config.Origin, s.policy.Origin())
	}
	var names []string
	for _, t := range d.Tenants {
		names = append(names, t.Name)
		if key := s.keys[t.Name]; key != nil && t.Stream.ID != key.StreamID() {
			return fmt.Errorf("its stream key of the tenant %s is another: choose another folder", t.Name)
		}
	}
	if slices.Sort(names); !slices.Equal(names, s.tenants) {
		return fmt.Errorf("it has the tenants %q, not %q: choose another folder", names, s.tenants)
	}
	m, err := mark.Read(filepath.Join(d.Path, datadir.StoreDir))
	if err != nil {
		return err
	}
	if len(m.Checkpoint) == 0 {
		return nil
	}
	if _, _, err := s.policy.VerifyCheckpoint(m.Checkpoint); err != nil {
		return fmt.Errorf("what it has of the log does not satisfy the policy: it is of another log with the same name, or the policy requires another key or more witnesses. Check the policy, or choose another folder: %w", err)
	}
	return nil
}

// editTokens edits the configuration for the given tokens, and reports whether
// it changes.
func (s *replicaSpec) editTokens(d *datadir.Dir) (edit *datadir.ConfigEdit, changed bool, err error) {
	if edit, err = datadir.EditConfig(d.Path); err != nil {
		return nil, false, err
	}
	for _, tenant := range s.tenants {
		for _, t := range s.tokens[tenant] {
			one, err := edit.SetToken(tenant, t.id, replicaRole, t.hash)
			if err != nil {
				return nil, false, fmt.Errorf("%s: token %s of the tenant %s: %w", filepath.Join(d.Path, datadir.ConfigFile), t.id, tenant, err)
			}
			changed = changed || one
		}
	}
	used := map[string]string{}
	for _, tenant := range edit.Want.Tenants {
		for _, t := range tenant.Tokens {
			if other, ok := used[t.SHA256]; ok {
				return nil, false, fmt.Errorf("--token %s: the replica accepts it already, as %s: use that ID", t.ID, other)
			}
			used[t.SHA256] = t.ID
		}
	}
	return edit, changed, nil
}

// made describes the new folder.
func (s *replicaSpec) made(dir string) *term.Made {
	made := &term.Made{Title: fmt.Sprintf("Made a replica of the log %s in %s", s.policy.Origin(), dir), Origin: s.policy.Origin(), Folder: dir, Files: []term.MadeFile{
		{File: datadir.ConfigFile, Purpose: "configuration"},
		{File: datadir.PolicyFile, Purpose: "the log's keys"},
	}, Next: []string{"muniment import FILE.delta --data " + dir, "muniment serve --data " + dir}}
	for _, name := range s.tenants {
		if len(s.tokens[name]) == 0 {
			made.Files = append(made.Files, term.MadeFile{File: tenantToken(name), Purpose: fmt.Sprintf("tenant %s's token for this replica", name)})
		}
	}
	return made
}
