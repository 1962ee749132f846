package datadir

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/cosereceipt"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// Names in a data folder.
const (
	ConfigFile   = "muniment.yaml"
	KeyFile      = "log.key"
	PolicyFile   = "policy"
	PQKeyFile    = "log.pq.key"
	PQPolicyFile = "policy.pq"
	StoreDir     = "store"
	TokenDir     = "tokens"
	StreamDir    = "streams"

	OperatorDir = "operators"
)

// A Config is muniment.yaml.
type Config struct {
	Origin string `yaml:"origin"`
	Listen string `yaml:"listen"`
	// HealthListen is the address of a listener for health checks and metrics
	// alone; "" is none.
	HealthListen string          `yaml:"health_listen"`
	PublicTlog   bool            `yaml:"public_tlog"`
	TLS          TLSConfig       `yaml:"tls"`
	Rekor        rekorConfig     `yaml:"rekor"`
	Anchors      []string        `yaml:"anchors"`
	AuditLog     string          `yaml:"audit_log"`
	AccessLog    string          `yaml:"access_log"`
	LogLevel     string          `yaml:"log_level"`
	Telemetry    telemetryConfig `yaml:"telemetry"`
	Limits       LimitsConfig    `yaml:"limits"`
	// names by which the server is reached on this machine, beside localhost
	// and the origin's host
	Hosts     []string         `yaml:"hosts"`
	Identity  identitySection  `yaml:"identity"`
	Operators []OperatorConfig `yaml:"operators"`
	Tenants   []TenantConfig   `yaml:"tenants"`
	Replica   bool             `yaml:"replica"`

	DefaultPolicy string       `yaml:"default_policy"`
	TrustedRoots  []rootConfig `yaml:"trusted_roots"`
}

type TLSConfig struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ClientCA is a file of certificates; clients may then show one that they
	// have signed.
	ClientCA string `yaml:"client_ca"`
}

type rekorConfig struct {
	Listen string `yaml:"listen"`
}

type LimitsConfig struct {
	PayloadBytes     int64      `yaml:"payload_bytes"`
	StreamBytes      int64      `yaml:"stream_bytes"`
	PendingEntries   int        `yaml:"pending_entries"`
	DiskReserveBytes uint64     `yaml:"disk_reserve_bytes"`
	Connections      int        `yaml:"connections"`
	Held             HeldConfig `yaml:"held"`
	// Tenant is for each tenant that has no limits of its own.
	Tenant TenantLimits `yaml:"tenant"`
}

const ConfigTemplate = `# The configuration of a Muniment log. The server reads it when it starts, and again on: muniment reload --data .
# (or SIGHUP). Tenants, operators, issuers, limits, log levels, the default policy, trusted roots and TLS certificates
# change without a restart; the server names what it can't change.

# The log's name: the first line of every checkpoint, and in every receipt. It can never be changed.
origin: %q

# Where to listen; --listen goes before it.
listen: 127.0.0.1:7480

# Serve /healthz, /readyz, /metrics and gRPC health checks on an address of their own, too. Clients of the other one may hold all of its
# connections; health checks here are answered all the same. Let only the monitoring reach it. --health-listen goes before it.
# health_listen: 127.0.0.1:7482

# On addresses of this machine the server takes requests for localhost and for the origin's host only, so that no web page can have a browser
# here send it one. Further host names, such as one that a proxy here passes on without X-Forwarded-For:
# hosts: [ledger.internal]

# The public log under /tlog/ shows leaves that look random, and so nothing but how many entries there are, and when. Auditors
# and witnesses need it. false asks for a token there, too.
public_tlog: true

# Serve HTTPS: files in PEM, relative to this folder.
# tls:
#   cert: server.crt
#   key: server.key
#   # Clients may show certificates that these have signed, in place of a token. A tenant's certificates, below, say who may do what.
#   client_ca: clients.pem

# debug, info, warn or error.
log_level: info

# Where to write a line for each request: a file, relative to this folder, or stderr. Without it there is no access log.
# access_log: access.log

# Send traces by OTLP over HTTP. The sample is the share of requests, from 0 to 1, that have none of their own.
# telemetry:
#   traces: http://127.0.0.1:4318/v1/traces
#   sample: 0.1

# Where to write a line for each administrative act and each refused access: a file, relative to this folder, or stderr.
audit_log: audit.log

# Serve the Rekor log (made with: muniment init . --rekor-origin HOST), with its timestamp authority if it has one. Its entries are public and
# permanent, and whoever reaches the address may write. --rekor-listen goes before it.
# rekor:
#   listen: 127.0.0.1:7481

# Files outside this folder, best on another machine's disk, where the server keeps its latest checkpoint. When it starts it compares them with the
# log, and so notices a restored old copy of this folder. Witnesses (muniment trust add-witness) do that better.
# anchors:
#   - /mnt/elsewhere/ledger.anchor

limits:
  # Largest payload of one message. Larger evidence is streamed.
  payload_bytes: 16777216
  # Largest payload of one entry that is streamed to the disk.
  stream_bytes: 1073741824
  # Entries that may wait to be written; more are refused with a delay to retry after.
  pending_entries: 8192
  # Appends are refused, and reads go on, when the disk has less than this left.
  disk_reserve_bytes: 536870912
  # Open connections, at most half of them from one address. They are fewer where the process may not open as many files.
  connections: 8192
  # What callers hold at once: all of them (total), and one tenant, or one address without credentials (each). What is not here has the
  # default of docs/access.md.
  # held:
  #   bytes: {total: 536870912, each: 268435456}
  #   watchers: {total: 2048, each: 128}
  # Of each tenant, unless it has limits of its own; what is not here is not limited.
  # tenant:
  #   requests_per_second: 200
  #   entries_per_second: 500
  #   bytes_per_second: 20000000
  #   entries_per_day: 1000000
  #   bytes_per_day: 50000000000

# The admission policy of tenants that have set none of their own (muniment policy set). Without it everything is kept, and its header says what its
# signatures are worth. See docs/spec/policy.md.
# default_policy: admission.yaml

# The trusted roots that signatures are verified with are the files trusted-roots/NAME.json; replace and confirm them with: muniment trusted-root update
# From these ages on, counted from the last time, the server warns, and nothing is verified with a root any more.
# trusted_roots:
#   - name: public-good
#     warn_after: 90d
#     refuse_after: 365d

# Whose OpenID Connect identity tokens may be exchanged for short-lived tokens, so that CI jobs need no stored secret. A tenant's identities, below,
# say who may do what. Keys are fetched from the issuer, or read from a file. See docs/operator.md.
# identity:
#   issuers:
#     - issuer: https://token.actions.githubusercontent.com
#     - issuer: https://gitlab.example.com
#       provider: gitlab
#       jwks_file: gitlab.jwks.json

# Who may read /metrics and the details of /readyz; operators read no evidence. Only the SHA-256 of a token is kept here. Add one with:
# muniment operator add NAME --data .
operators:
%s
# The tenants, and their first tokens, of which only the SHA-256 is kept here. Add a tenant with: muniment tenant add NAME --data .
# Further tokens are made while the server runs, by an administrator of the tenant: muniment token issue
tenants:
`

// A Dir is a loaded data folder.
type Dir struct {
	Path       string
	Config     Config
	Signer     note.Signer          // the newest, whose policy is policy; nil in a replica
	Overlap    []note.Signer        // older keys that sign, too, until they are retired
	Keys       []KeyRecord          // all, oldest first
	Replica    *receipt.TrustPolicy // of the log; nil unless the folder is a replica
	Tenants    []api.Tenant
	Operators  []api.Operator
	identities *oidc.Verifier   // nil: no identity tokens are taken
	ClientCA   *x509.CertPool   // nil: clients show no certificates
	Warnings   []string         // for the log, when the server starts
	SCITT      *cosereceipt.Key // nil: no SCITT endpoint
}

// Load reads and checks everything in the folder but the store.
func Load(path string) (*Dir, error) {
	d := &Dir{Path: path}
	data, err := bounded.ReadFile(filepath.Join(path, ConfigFile), bounded.Config)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is not a data folder: it has no %s. Make one with: muniment init %s", path, ConfigFile, path)
	} else if err != nil {
		return nil, err
	}
	d.Config = Config{Listen: "127.0.0.1:7480", PublicTlog: true, AuditLog: "audit.log",
		Limits: LimitsConfig{PayloadBytes: 16 << 20, StreamBytes: 1 << 30, PendingEntries: 8192, DiskReserveBytes: 512 << 20, Connections: 8192}}
	if err := DecodeYAML(data, &d.Config); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(path, ConfigFile), err)
	}
	if err := d.Config.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(path, ConfigFile), err)
	}
	if d.Config.Replica {
		err = d.LoadReplicaPolicy()
	} else {
		err = d.loadSigner()
	}
	if err != nil {
		return nil, err
	}
	if d.SCITT, err = loadSCITTKey(path); err != nil {
		return nil, err
	}
	if d.Config.TLS.ClientCA != "" {
		if d.ClientCA, err = ReadCertificates(d.Rel(d.Config.TLS.ClientCA)); err != nil {
			return nil, fmt.Errorf("%s: tls.client_ca: %w", filepath.Join(path, ConfigFile), err)
		}
	}
	if err := d.loadIssuers(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(path, ConfigFile), err)
	}
	if err := d.loadTenants(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(path, ConfigFile), err)
	}
	if err := d.loadOperators(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(path, ConfigFile), err)
	}
	return d, nil
}

// loadSigner reads the log's key.
func (d *Dir) loadSigner() error {
	open, records, err := LoadKeys(d.Path, d.Config.Origin)
	if err != nil {
		return err
	}
	d.Signer, d.Keys = open[0].Signer, records
	for _, k := range open[1:] {
		d.Overlap = append(d.Overlap, k.Signer)
	}
	return nil
}

// parseSHA256 reads 64 hexadecimal digits.
func parseSHA256(s string) ([sha256.Size]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != sha256.Size {
		return [sha256.Size]byte{}, errors.New("not 64 hexadecimal digits")
	}
	return [sha256.Size]byte(b), nil
}

var GrantID = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

func (c *Config) check() error {
	if err := CheckOrigin(c.Origin); err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	if c.Limits.PayloadBytes < 1 || c.Limits.PayloadBytes > 1<<30 {
		return errors.New("limits.payload_bytes: not between 1 and 1 GiB")
	}
	if c.Limits.StreamBytes < 1 || c.Limits.StreamBytes > 1<<40 {
		return errors.New("limits.stream_bytes: not between 1 and 1 TiB")
	}
	if c.Limits.PendingEntries < 1 {
		return errors.New("limits.pending_entries: not at least 1")
	}
	if c.Limits.Connections < 1 {
		return errors.New("limits.connections: not at least 1")
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return errors.New("tls: cert and key go together")
	}
	if c.TLS.ClientCA != "" && c.TLS.Cert == "" {
		return errors.New("tls.client_ca: clients can show certificates over TLS only: set cert and key")
	}
	if _, err := ParseLevel(c.LogLevel); err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	if err := c.Telemetry.check(); err != nil {
		return fmt.Errorf("telemetry.%w", err)
	}
	if err := c.Limits.Held.Check(); err != nil {
		return fmt.Errorf("limits.held.%w", err)
	}
	if err := c.Limits.Tenant.check(); err != nil {
		return fmt.Errorf("limits.tenant.%w", err)
	}
	seen := map[string]bool{}
	for i, t := range c.Tenants {
		if err := entry.CheckTenantName(t.Name); err != nil {
			return fmt.Errorf("tenants[%d].name: %w", i, err)
		}
		if seen[t.Name] {
			return fmt.Errorf("tenants[%d].name: %q is there twice", i, t.Name)
		}
		seen[t.Name] = true
	}
	return c.checkRoots()
}

// Rel makes a path in the configuration absolute; it is relative to the folder.
func (d *Dir) Rel(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.Path, path)
}

func CheckOrigin(origin string) error {
	if origin == "" || len(origin) > 255 {
		return errors.New("must have 1 to 255 characters")
	}
	for _, r := range origin {
		if r <= ' ' || r > '~' || r == '+' {
			return fmt.Errorf("%q contains %q: use a host name or a URL without its scheme, such as ledger.example.com", origin, r)
		}
	}
	switch {
	case strings.Contains(origin, "://"):
		return fmt.Errorf("%q has a scheme: use %q", origin, strings.TrimRight(origin[strings.Index(origin, "://")+3:], "/"))
	case strings.HasSuffix(origin, "/") || strings.HasPrefix(origin, "/"):
		return fmt.Errorf("%q begins or ends with a slash: use %q", origin, strings.Trim(origin, "/"))
	}
	return nil
}

// ReadStreamKey reads the file of a stream key (docs/spec/receipt.md, section
// 3).
func ReadStreamKey(path string) (*entry.StreamKey, error) {
	data, err := bounded.ReadSecret(path)
	if err != nil {
		return nil, err
	}
	k, err := entry.ParseStreamKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// ParseLevel reads the level of a log; none is info.
func ParseLevel(s string) (slog.Level, error) {
	switch s {
	case "debug":
		return slog.LevelDebug, nil
	case "info", "":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q: must be debug, info, warn or error", s)
}

func ConfigDigest(dir string) string {
	text, err := bounded.ReadFile(filepath.Join(dir, ConfigFile), bounded.Config)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

// OperatorPrefix begins the tokens of operators.
const OperatorPrefix = "mno_"
