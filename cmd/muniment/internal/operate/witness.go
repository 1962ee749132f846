package operate

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/witness/cosigner"
)

// Names of files and folders in a witness's folder.
const (
	WitnessConfigFile = "witness.yaml"
	witnessKeyFile    = "witness.key"
	witnessPQKeyFile  = "witness.pq.key"
	witnessStateDir   = "state"
)

type witnessCmd struct {
	Serve  witnessServeCmd  `cmd:"" default:"withargs" help:"Run a witness on its folder."`
	Init   witnessInitCmd   `cmd:"" help:"Make a witness's folder: configuration and keys."`
	AddLog witnessAddLogCmd `cmd:"" help:"Add a log to cosign."`
	Show   witnessShowCmd   `cmd:"" help:"Print the witness's keys and its logs."`
}

// A WitnessConfig is the content of witness.yaml.
type WitnessConfig struct {
	Name        string            `yaml:"name"`
	Listen      string            `yaml:"listen"`
	URL         string            `yaml:"url"`
	TLS         datadir.TLSConfig `yaml:"tls"`
	Connections int               `yaml:"connections"`
	Logs        []witnessedLogs   `yaml:"logs"`
}

func defaultWitnessConfig() WitnessConfig {
	return WitnessConfig{Listen: "127.0.0.1:7490", Connections: 1024}
}

type witnessedLogs struct {
	Origin string `yaml:"origin"` // "" for the key's name
	Key    string `yaml:"key"`
}

const witnessTemplate = `# The configuration of a Muniment witness. The witness reads it when it starts.

# The witness's name, which is part of each cosignature. It can never be
# changed.
name: %q

# Address to listen on. --listen overrides it.
listen: 127.0.0.1:7490

# URL at which logs reach the witness. 'muniment witness show' prints it.
url: %q

# Serve HTTPS: PEM files, relative to this folder.
# tls:
#   cert: server.crt
#   key: server.key

# Open connections.
connections: 1024

# The logs whose checkpoints are cosigned, each by the key that signs them. Set
# origin if the first line of the checkpoints is not the key's name. List a log
# with several keys once for each. Add one with:
# muniment witness add-log KEY --data .
logs:
`

// A witnessDir is a loaded folder of a witness.
type witnessDir struct {
	path         string
	config       WitnessConfig
	keys         []cosigner.Key
	VerifierKeys []string
	logs         []cosigner.Log
}

// LoadWitnessDir reads and checks the folder of a witness.
func LoadWitnessDir(path string) (*witnessDir, error) {
	d := &witnessDir{path: path, config: defaultWitnessConfig()}
	file := filepath.Join(path, WitnessConfigFile)
	data, err := bounded.ReadFile(file, bounded.Config)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is not a witness's folder: it has no %s. Make one with: muniment witness init %s", path, WitnessConfigFile, path)
	} else if err != nil {
		return nil, err
	}
	if err := datadir.DecodeYAML(data, &d.config); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := datadir.CheckOrigin(d.config.Name); err != nil {
		return nil, fmt.Errorf("%s: name: %w", file, err)
	}
	if d.config.Connections < 1 {
		return nil, fmt.Errorf("%s: connections: must be at least 1", file)
	}
	if (d.config.TLS.Cert == "") != (d.config.TLS.Key == "") {
		return nil, fmt.Errorf("%s: tls: set both cert and key, or neither", file)
	}
	if d.logs, err = d.config.logs(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, name := range []string{witnessKeyFile, witnessPQKeyFile} {
		if err := d.loadKey(name); errors.Is(err, os.ErrNotExist) && name == witnessPQKeyFile {
			continue // this key is optional
		} else if err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *witnessDir) loadKey(name string) error {
	path := filepath.Join(d.path, name)
	text, err := bounded.ReadSecret(path)
	if err != nil {
		return err
	}
	skey := strings.TrimSpace(string(text))
	s, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		return fmt.Errorf("%s: not a cosigner key", path) // the cause could show parts of the key
	}
	if s.Name() != d.config.Name {
		return fmt.Errorf("%s: the key is for the name %q, but the name in %s is %q", path, s.Name(), WitnessConfigFile, d.config.Name)
	}
	vkey, err := verifierKey(skey)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	d.keys = append(d.keys, cosigner.Key{Signer: s, Verifier: s.Verifier()})
	d.VerifierKeys = append(d.VerifierKeys, vkey)
	return nil
}

// logs returns the logs with the keys of each.
func (c *WitnessConfig) logs() ([]cosigner.Log, error) {
	var out []cosigner.Log
	for i, l := range c.Logs {
		v, err := fnote.NewVerifier(l.Key)
		if err != nil {
			return nil, fmt.Errorf("logs[%d].key: not a log's key: %w", i, err)
		}
		origin := l.Origin
		if origin == "" {
			origin = v.Name()
		}
		at := slices.IndexFunc(out, func(o cosigner.Log) bool { return o.Origin == origin })
		if at < 0 {
			out, at = append(out, cosigner.Log{Origin: origin}), len(out)
		}
		if slices.ContainsFunc(out[at].Keys, func(k note.Verifier) bool { return k.Name() == v.Name() && k.KeyHash() == v.KeyHash() }) {
			return nil, fmt.Errorf("logs[%d].key: it is listed twice", i)
		}
		out[at].Keys = append(out[at].Keys, v)
	}
	return out, nil
}

// rel resolves a path in the configuration, which is relative to the folder.
func (d *witnessDir) rel(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.path, path)
}

type witnessServeCmd struct {
	Data      string `help:"The witness's folder, made by 'muniment witness init'." required:"" type:"path" env:"MUNIMENT_WITNESS_DATA"`
	Listen    string `help:"Address to listen on. Port 0 takes a free one. Default: listen in witness.yaml." placeholder:"HOST:PORT"`
	LogFormat string `help:"text or json." enum:"text,json" default:"text"`
}

func (witnessServeCmd) Help() string {
	return `Cosigns the checkpoints of other logs over C2SP tlog-witness, if each is consistent with the log's earlier checkpoints. Forks and rollbacks are refused.
A witness receives checkpoints and never leaves. 'muniment witness' is short for 'muniment witness serve'.

Exit codes: 0 stopped by a signal; 2 could not start, or the listener failed.

Examples:
  muniment witness init ./witness --name witness.example.com
  muniment witness add-log 'ledger.example.com+7a2f9d10+AX…' --data ./witness
  muniment witness --data ./witness --listen 0.0.0.0:7490`
}

func (c *witnessServeCmd) Run(a *term.App) error {
	log := a.ServiceLogger(c.LogFormat)
	d, err := LoadWitnessDir(c.Data)
	if err != nil {
		return err
	}
	w, err := cosigner.Open(cosigner.Config{Dir: filepath.Join(c.Data, witnessStateDir), Keys: d.keys, Logs: d.logs, Logger: log})
	if err != nil {
		return err
	}
	return errors.Join(c.serve(a, d, log, w), w.Close())
}

func (c *witnessServeCmd) serve(a *term.App, d *witnessDir, log *slog.Logger, w *cosigner.Cosigner) error {
	address := d.config.Listen
	if c.Listen != "" {
		address = c.Listen
	}
	cert := &certificate{}
	if err := cert.load(d.config.TLS, d.rel, nil); err != nil {
		return err
	}
	site := sites["witness"]
	site.Handler, site.TLS, site.Errors = w.Handler(doors("witness")), cert.source(), HTTPErrors(log)
	site.Hosts = []string{hostOf(d.config.Name), hostOf(strings.TrimPrefix(strings.TrimPrefix(d.config.URL, "https://"), "http://"))}
	site.Connections = d.config.Connections
	l, err := edge.Listen(address, site)
	if err != nil {
		return err
	}
	if len(d.logs) == 0 {
		log.Warn("there is no log to cosign: add one with: muniment witness add-log KEY --data " + c.Data)
	}
	a.Listening("witness", "witness "+d.config.Name+" listening on", l.URL)
	select {
	case err := <-l.Failed:
		return fmt.Errorf("serve: %w", err)
	case <-a.Ctx.Done():
	}
	_, err = l.Shutdown(shutdownTime)
	return err
}

type witnessInitCmd struct {
	Dir       string `arg:"" help:"Folder to make. It must not exist, or must be empty."`
	Name      string `help:"The witness's name, which can never be changed: a host name, or a URL without its scheme." required:"" placeholder:"HOST"`
	URL       string `help:"URL at which logs reach the witness." placeholder:"URL"`
	NoQuantum bool   `name:"no-post-quantum" help:"Make only an Ed25519 key, and no ML-DSA-44 key."`
	term.ResultFlags
}

func (witnessInitCmd) Help() string {
	return `Makes DIR/witness.yaml, DIR/witness.key (Ed25519) and DIR/witness.pq.key (ML-DSA-44).

Exit code: 0 made; 2 failed.

Example:
  muniment witness init ./witness --name witness.example.com --url https://witness.example.com`
}

func (c *witnessInitCmd) Run(a *term.App) error {
	if err := datadir.CheckOrigin(c.Name); err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	if err := datadir.MakeFolder(c.Dir); err != nil {
		return err
	}
	skey, _, err := note.GenerateKey(rand.Reader, c.Name)
	if err != nil {
		return err
	}
	files := []datadir.File{{Name: witnessKeyFile, Content: skey + "\n", Mode: 0o600}}
	if !c.NoQuantum {
		pq, _, err := fnote.GenerateMLDSAKey(c.Name)
		if err != nil {
			return err
		}
		files = append(files, datadir.File{Name: witnessPQKeyFile, Content: pq + "\n", Mode: 0o600})
	}
	// The configuration is written last: it completes the folder.
	files = append(files, datadir.File{Name: WitnessConfigFile, Content: fmt.Sprintf(witnessTemplate, c.Name, c.URL), Mode: 0o600})
	if err := datadir.WriteFiles(c.Dir, files); err != nil {
		return err
	}
	d, err := LoadWitnessDir(c.Dir)
	if err != nil {
		return err
	}
	return c.Print(a, &madeWitness{c.Dir, d.info()})
}

// A madeWitness is the result of witness init.
type madeWitness struct {
	Folder string `json:"folder"`
	witnessInfo
}

func (m *madeWitness) Text() string {
	return fmt.Sprintf("Made the witness %s in %s. Keep its keys secret, and never run it from a restored copy of the folder.\n\n%s", m.Name, m.Folder, m.witnessInfo.Text())
}

type witnessAddLogCmd struct {
	Key    string `arg:"" help:"The log's verifier key, NAME+HASH+KEY, as in its policy file."`
	Data   string `help:"The witness's folder." required:"" type:"path" env:"MUNIMENT_WITNESS_DATA"`
	Origin string `help:"First line of the log's checkpoints, if it is not the key's name."`
	term.ResultFlags
}

func (witnessAddLogCmd) Help() string {
	return `Restart the witness afterwards.

Exit code: 0 added; 2 failed, for example because the key is listed.

Example:
  muniment witness add-log 'ledger.example.com+7a2f9d10+AX…' --data ./witness`
}

func (c *witnessAddLogCmd) Run(a *term.App) error {
	d, err := LoadWitnessDir(c.Data)
	if err != nil {
		return err
	}
	lines := fmt.Sprintf("  - key: %q\n", c.Key)
	if c.Origin != "" {
		lines = fmt.Sprintf("  - origin: %q\n    key: %q\n", c.Origin, c.Key)
	}
	want := d.config
	want.Logs = append(slices.Clone(want.Logs), witnessedLogs{Origin: c.Origin, Key: c.Key})
	logs, err := want.logs()
	if err != nil {
		return err
	}
	path := filepath.Join(c.Data, WitnessConfigFile)
	old, err := bounded.ReadFile(path, bounded.Config)
	if err != nil {
		return err
	}
	edit := datadir.YamlEdit{Lines: datadir.SplitLines(old)}
	err = edit.Add("logs", lines)
	got := defaultWitnessConfig()
	if err = errors.Join(err, datadir.DecodeYAML([]byte(edit.Text()), &got)); err != nil || !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%s: %w; nothing was changed: add this to the logs by hand:\n\n%s", path, datadir.ErrEditByHand, lines)
	}
	if err := wholefile.ReplaceOwnedPath(path, []byte(edit.Text()), 0o600); err != nil {
		return err
	}
	return c.Print(a, &addedLog{origins(logs)})
}

// An addedLog is the result of witness add-log.
type addedLog struct {
	Logs []string `json:"logs"` // all origins
}

func (*addedLog) Text() string { return "Added. Restart the witness.\n" }

type witnessShowCmd struct {
	Data string `help:"The witness's folder." required:"" type:"path" env:"MUNIMENT_WITNESS_DATA"`
	term.ResultFlags
}

func (witnessShowCmd) Help() string {
	return `Exit code: 0 shown; 2 failed.

Example:
  muniment witness show --data ./witness`
}

func (c *witnessShowCmd) Run(a *term.App) error {
	d, err := LoadWitnessDir(c.Data)
	if err != nil {
		return err
	}
	return c.Print(a, d.info())
}

// A witnessInfo describes a witness for the operators of logs.
type witnessInfo struct {
	folder string
	Name   string   `json:"name"`
	URL    string   `json:"url,omitempty"`
	Keys   []string `json:"keys"`
	Logs   []string `json:"logs"` // origins
}

func (d *witnessDir) info() witnessInfo {
	return witnessInfo{d.path, d.config.Name, d.config.URL, d.VerifierKeys, origins(d.logs)}
}

func origins(logs []cosigner.Log) []string {
	names := []string{}
	for _, l := range logs {
		names = append(names, l.Origin)
	}
	return names
}

func (w witnessInfo) Text() string {
	var b strings.Builder
	b.WriteString("For the operators of logs, to use with 'muniment trust add-witness' or in a policy file:\n")
	for _, k := range w.Keys {
		fmt.Fprintf(&b, "\n  witness %s %s %s\n", w.Name, k, w.URL)
	}
	if len(w.Logs) == 0 {
		fmt.Fprintf(&b, "\nno logs: add one with: muniment witness add-log KEY --data %s\n", w.folder)
	} else {
		fmt.Fprintf(&b, "\nLogs: %s\n", strings.Join(w.Logs, ", "))
	}
	return b.String()
}
