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

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/notify"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/cosereceipt"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/offload"
	"muniment.dev/muniment/ledger/receipt"
)

// Names of files and folders in a data folder.
const (
	ConfigFile   = "muniment.yaml"
	KeyFile      = "log.key"
	PolicyFile   = "policy"
	PQKeyFile    = "log.pq.key"
	PQPolicyFile = "policy.pq"
	StoreDir     = "store"
	TokenDir     = "tokens"
	StreamDir    = "streams"
	OperatorDir  = "operators"
	SpoolDir     = "spool" // of a replica: decisions that the log has not recorded yet
)

// A Config is the content of muniment.yaml. docs/operator.md and the comments
// of ConfigTemplate describe its settings.
type Config struct {
	Origin string `yaml:"origin"`
	// Store is the URL of a database that several servers share, or "" for the
	// embedded store.
	Store string `yaml:"store"`
	// Objects is the URL of a bucket for the large payloads of that database,
	// or "".
	Objects string `yaml:"objects"`
	// Tiles is the bucket for a copy of the public log.
	Tiles TilesConfig `yaml:"tiles"`
	// Servers are those that share the store.
	Servers ServersConfig `yaml:"servers"`
	Listen  string        `yaml:"listen"`
	// HealthListen is the address of a listener that serves health checks and
	// metrics only, or "".
	HealthListen string `yaml:"health_listen"`
	PublicTlog   bool   `yaml:"public_tlog"`
	// MetricsByTenant names the tenants in the metrics about findings,
	// exceptions and coverage.
	MetricsByTenant bool `yaml:"metrics_by_tenant"`
	// CoverageStage is the stage whose controls the metrics about coverage
	// measure.
	CoverageStage string          `yaml:"coverage_stage"`
	TLS           TLSConfig       `yaml:"tls"`
	Rekor         rekorConfig     `yaml:"rekor"`
	Anchors       []string        `yaml:"anchors"`
	AuditLog      string          `yaml:"audit_log"`
	AccessLog     string          `yaml:"access_log"`
	LogLevel      string          `yaml:"log_level"`
	Telemetry     telemetryConfig `yaml:"telemetry"`
	Limits        LimitsConfig    `yaml:"limits"`
	// Hosts are host names that requests on addresses of this machine may use,
	// besides localhost and the origin's host.
	Hosts     []string         `yaml:"hosts"`
	Identity  identitySection  `yaml:"identity"`
	Portal    PortalConfig     `yaml:"portal"`
	Operators []OperatorConfig `yaml:"operators"`
	Webhooks  []webhookConfig  `yaml:"webhooks"`
	Tenants   []TenantConfig   `yaml:"tenants"`
	Replica   bool             `yaml:"replica"`

	DefaultPolicy string       `yaml:"default_policy"`
	TrustedRoots  []rootConfig `yaml:"trusted_roots"`
}

// A TLSConfig names the PEM files of a server, relative to its folder. Without
// a certificate the server speaks plain HTTP.
type TLSConfig struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ClientCA is a file with the certificates of authorities. Clients may
	// authenticate with certificates that these have issued.
	ClientCA string `yaml:"client_ca"`
}

type rekorConfig struct {
	Listen string `yaml:"listen"`
}

// A LimitsConfig limits the whole server, in bytes and in numbers of entries
// and connections.
type LimitsConfig struct {
	PayloadBytes     int64      `yaml:"payload_bytes"`
	StreamBytes      int64      `yaml:"stream_bytes"`
	PendingEntries   int        `yaml:"pending_entries"`
	DiskReserveBytes uint64     `yaml:"disk_reserve_bytes"`
	Connections      int        `yaml:"connections"`
	Held             HeldConfig `yaml:"held"`
	// Tenant applies to each tenant without limits of its own.
	Tenant TenantLimits `yaml:"tenant"`
	// File has limits of tenants that replace those here, or "". It is read
	// again when it changes.
	File string `yaml:"file"`
}

// ConfigTemplate is the configuration that init writes. Its arguments are the
// origin and the lines of the first operator.
const ConfigTemplate = `# The configuration of a Muniment log. The server reads it when it starts, and
# again on: muniment reload --data . (or SIGHUP). Tenants, operators, issuers,
# limits, log levels, the default policy, trusted roots and TLS certificates
# change without a restart. The server names the settings that need one.

# The log's name. It is the first line of every checkpoint and part of every
# receipt, and can never be changed.
origin: %q

# A PostgreSQL database in which several servers keep the log together, each
# with a copy of this folder. Without it, the log is in this folder. See
# docs/scale-out.md.
# store: postgres://muniment@db1,db2/muniment

# A bucket that has the large payloads instead of the database.
# objects: s3://acme-evidence/ledger?region=eu-central-1

# A bucket, or a part of one, for a copy of the public log under /tlog/, which
# auditors and mirrors can read there. Nothing is written with public_tlog:
# false. See docs/scale-out.md.
# tiles:
#   bucket: s3://acme-log/ledger?region=eu-central-1
#   # Shortest time between two checkpoints.
#   every: 10s

# The servers of that database, at the addresses at which they reach each other.
# They choose one to which the others forward what they are asked to record. A
# server finds its own URL by its address, or is given it with --advertise.
# servers:
#   urls: [https://ledger-0.example.com:7480, https://ledger-1.example.com:7480]
#   # Authorities of their certificates, in place of those of the system.
#   ca: servers.pem

# Address to listen on. --listen overrides it.
listen: 127.0.0.1:7480

# Also serve /healthz, /readyz, /metrics and gRPC health checks on an address of
# their own. They are answered even if clients hold all connections of the other
# address. Make it reachable for your monitoring only. --health-listen overrides
# it.
# health_listen: 127.0.0.1:7482

# On addresses of this machine the server accepts requests for localhost and for
# the origin's host only, so that no web page can make a browser here send one.
# Further host names, such as one that a local proxy forwards without
# X-Forwarded-For:
# hosts: [ledger.internal]

# The public log under /tlog/ contains leaves that look random. They reveal only
# how many entries there are, and when they were added. Auditors and witnesses
# need it. With false, it requires a token.
public_tlog: true

# The metrics about findings, exceptions and coverage count all tenants together.
# With true, they count each by itself, and name it in the label tenant. Those
# about coverage then also name environments and the sources of inventories.
# metrics_by_tenant: true

# The stage whose controls an artifact must satisfy to count as attested in the
# metrics about coverage.
# coverage_stage: deploy

# Serve HTTPS: PEM files, relative to this folder.
# tls:
#   cert: server.crt
#   key: server.key
#   # Authorities whose client certificates are accepted in place of a token.
#   # A tenant's certificates, below, grant roles.
#   client_ca: clients.pem

# debug, info, warn or error.
log_level: info

# File for a line about each request, relative to this folder, or stderr.
# Without it there is no access log.
# access_log: access.log

# Send traces by OTLP over HTTP. The sample is the share, from 0 to 1, of
# requests that carry no sampling decision.
# telemetry:
#   traces: http://127.0.0.1:4318/v1/traces
#   sample: 0.1

# File for a line about each administrative act and each refused access,
# relative to this folder, or stderr.
audit_log: audit.log

# Serve the Rekor log (made with: muniment init . --rekor-origin HOST), and its
# timestamp authority if it has one. Its entries are public and permanent, and
# anyone who reaches the address can write. --rekor-listen overrides it.
# rekor:
#   listen: 127.0.0.1:7481

# Files outside this folder, best on another machine's disk, in which the server
# keeps its latest checkpoint. When it starts, it compares them with the log and
# so detects a restored old copy of this folder. Witnesses do that better:
# muniment trust add-witness
# anchors:
#   - /mnt/elsewhere/ledger.anchor

limits:
  # Largest payload of one message. Larger evidence is streamed.
  payload_bytes: 16777216
  # Largest streamed payload of an entry.
  stream_bytes: 1073741824
  # Entries that can wait to be written. More are refused, with a delay after
  # which to retry.
  pending_entries: 8192
  # Appends are refused, and reads continue, when the disk has less free space
  # than this.
  disk_reserve_bytes: 536870912
  # Open connections, at most half of which come from one address. There are
  # fewer if the process cannot open as many files.
  connections: 8192
  # What callers hold at once: all together (total), and one tenant or one
  # address without credentials (each). The defaults are in docs/access.md.
  # held:
  #   bytes: {total: 536870912, each: 268435456}
  #   watchers: {total: 2048, each: 128}
  # Limits of each tenant without limits of its own. What is not listed is not
  # limited.
  # tenant:
  #   requests_per_second: 200
  #   entries_per_second: 500
  #   bytes_per_second: 20000000
  #   entries_per_day: 1000000
  #   bytes_per_day: 50000000000
  # A file with limits of tenants that replace those here. It is applied without
  # a reload when it changes. See docs/access.md.
  # file: limits.yaml

# The admission policy of tenants that have set none (muniment policy set).
# Without it everything is kept, and headers record how signatures were
# verified. See docs/spec/policy.md.
# default_policy: admission.yaml

# Signatures are verified with the trusted roots in trusted-roots/NAME.json.
# Replace or confirm them with: muniment trusted-root update
# A root ages from its last update or confirmation. The server warns from one
# age on, and stops using the root at another.
# trusted_roots:
#   - name: public-good
#     warn_after: 90d
#     refuse_after: 365d

# Issuers of OpenID Connect identity tokens that can be exchanged for
# short-lived tokens, so that CI jobs need no stored secret. A tenant's
# identities, below, grant roles. Keys are fetched from the issuer, or read from
# a file. See docs/access.md.
# identity:
#   issuers:
#     - issuer: https://token.actions.githubusercontent.com
#     - issuer: https://gitlab.example.com
#       provider: gitlab
#       jwks_file: gitlab.jwks.json
#     # With sign_in, people sign in to the portal with it: docs/portal.md.
#     - issuer: https://login.example.com
#       sign_in:
#         client_id: muniment
#         client_secret_file: login.secret

# The portal is the web page for people, below /portal/. A browser keeps no
# session over plain HTTP from another machine: serve HTTPS, or set the URL of the
# proxy that does. See docs/portal.md.
# portal:
#   enabled: true
#   url: https://ledger.example.com
#   # A session ends when it was not used for this long, and in any case after
#   # its life.
#   idle: 1h
#   life: 12h
#   # Proxies that set X-Forwarded-For, so that each person behind them has an
#   # own limit of attempts to sign in.
#   trusted_proxies: [10.0.0.0/8]

# Receivers of events about findings and exceptions, signed as the Standard
# Webhooks specification defines. See docs/operator.md.
# webhooks:
#   - name: compliance
#     url: https://hooks.example.com/muniment
#     secret_file: webhooks/compliance.secret
#     tenants: [acme]
#     events: [exception.expiring, break-glass.used, finding.overdue]
#     lead: 72h

# Operators can read /metrics and the details of /readyz, and no evidence. This
# file contains only the SHA-256 of a token. Add one with:
# muniment operator add NAME --data .
operators:
%s
# The tenants, and the SHA-256 of their first tokens. Add a tenant with:
# muniment tenant add NAME --data .
# An administrator of the tenant issues further tokens while the server runs:
# muniment token issue
tenants:
`

// A Dir is a loaded data folder.
type Dir struct {
	Path       string
	Config     Config
	Signer     note.Signer          // the newest key; nil in a replica
	Overlap    []note.Signer        // older keys that also sign until they are retired
	Keys       []KeyRecord          // of the log, including retired ones, oldest first
	Replica    *receipt.TrustPolicy // of the log that this is a replica of; nil for a log
	Tenants    []auth.Tenant
	Operators  []auth.Operator
	webhooks   []notify.Hook
	identities *oidc.Verifier    // nil if no issuer is configured
	ClientCA   *x509.CertPool    // nil if client certificates are not accepted
	Warnings   []string          // to be logged when the server starts
	SCITT      *cosereceipt.Key  // nil if there is no SCITT endpoint
	Gate       *attest.Signer    // nil if passes are not published as attestations
	limitsRead string            // the hash of the file of limits
	shared     *Shared           // that replaces the folder's own settings; nil: none does
	files      map[string][]byte // that shared settings name, by their paths; nil with shared
}

// ReadClientCA reads the authorities of client certificates as they are now. It
// returns nil if none are accepted.
func (d *Dir) ReadClientCA() (*x509.CertPool, error) {
	if d.Config.TLS.ClientCA == "" {
		return nil, nil
	}
	pool, err := ReadCertificates(d.Rel(d.Config.TLS.ClientCA))
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca: %w", err)
	}
	return pool, nil
}

// Load reads and checks everything in the folder except the store. It changes
// nothing: see Settle.
func Load(path string) (*Dir, error) {
	d := &Dir{Path: path}
	data, err := bounded.ReadFile(filepath.Join(path, ConfigFile), bounded.Config)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is not a data folder: it has no %s. Make one with: muniment init %s", path, ConfigFile, path)
	} else if err != nil {
		return nil, err
	}
	d.Config = Config{Listen: "127.0.0.1:7480", PublicTlog: true, AuditLog: "audit.log", Portal: defaultPortal, Tiles: TilesConfig{Every: offload.DefaultEvery},
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
	if d.Gate, err = loadGateKey(path); err != nil {
		return nil, err
	}
	if d.ClientCA, err = d.ReadClientCA(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(path, ConfigFile), err)
	}
	if err := d.loadGrants(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(path, ConfigFile), err)
	}
	return d, nil
}

// loadGrants checks the issuers, tenants, webhooks and operators, and reads
// their files.
func (d *Dir) loadGrants() error {
	for _, load := range []func() error{d.loadIssuers, d.loadTenants, d.loadWebhooks, d.loadOperators} {
		if err := load(); err != nil {
			return err
		}
	}
	return nil
}

// loadSigner opens the log's keys.
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

// parseSHA256 parses a digest in hexadecimal.
func parseSHA256(s string) ([sha256.Size]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != sha256.Size {
		return [sha256.Size]byte{}, errors.New("must be 64 hexadecimal digits")
	}
	return [sha256.Size]byte(b), nil
}

// GrantID matches the ID of a token or operator.
var GrantID = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

func (c *Config) check() error {
	if err := CheckOrigin(c.Origin); err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	if c.Objects != "" && c.Store == "" {
		return errors.New("objects: requires store: the embedded store keeps large payloads in this folder")
	}
	if err := c.Tiles.check(c); err != nil {
		return fmt.Errorf("tiles.%w", err)
	}
	if c.Limits.PayloadBytes < 1 || c.Limits.PayloadBytes > 1<<30 {
		return errors.New("limits.payload_bytes: must be between 1 and 1 GiB")
	}
	if c.Limits.StreamBytes < 1 || c.Limits.StreamBytes > 1<<40 {
		return errors.New("limits.stream_bytes: must be between 1 and 1 TiB")
	}
	if c.Limits.PendingEntries < 1 {
		return errors.New("limits.pending_entries: must be at least 1")
	}
	if c.Limits.Connections < 1 {
		return errors.New("limits.connections: must be at least 1")
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return errors.New("tls: set both cert and key, or neither")
	}
	if c.TLS.ClientCA != "" && c.TLS.Cert == "" {
		return errors.New("tls.client_ca: client certificates require TLS: set cert and key")
	}
	if _, err := ParseLevel(c.LogLevel); err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	if c.CoverageStage != "" && !evaluate.StageName.MatchString(c.CoverageStage) {
		return errors.New("coverage_stage: must be 1 to 64 lowercase letters, digits and hyphens")
	}
	if err := c.Portal.check(); err != nil {
		return fmt.Errorf("portal.%w", err)
	}
	if err := c.Servers.check(c.Store); err != nil {
		return fmt.Errorf("servers.%w", err)
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
			return fmt.Errorf("tenants[%d].name: %q is listed twice", i, t.Name)
		}
		seen[t.Name] = true
	}
	return c.checkRoots()
}

// Rel resolves a path in the configuration, which is relative to the folder.
func (d *Dir) Rel(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.Path, path)
}

// CheckOrigin returns an error unless the origin is a host name or a URL
// without its scheme.
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
	case strings.ContainsAny(origin, "?#@\\\""):
		return fmt.Errorf("%q is not the name of a log: use a host name, and a path if there are several logs, such as ledger.example.com/east", origin)
	}
	host, path, _ := strings.Cut(origin, "/")
	if !originHost.MatchString(host) {
		return fmt.Errorf("%q does not begin with a host name: use one such as ledger.example.com", origin)
	}
	if strings.Contains("/"+path, "//") {
		return fmt.Errorf("%q has an empty part between two slashes", origin)
	}
	return nil
}

// originHost matches a host name or an IP address, with an optional port.
var originHost = regexp.MustCompile(`^(?:[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)

// ReadStreamKey reads the file of a stream key (docs/spec/receipt.md, section
// 3).
func ReadStreamKey(path string) (*entry.StreamKey, error) {
	data, err := bounded.ReadSecret(path)
	if err != nil {
		return nil, err
	}
	return parseStreamKey(path, data)
}

func parseStreamKey(path string, data []byte) (*entry.StreamKey, error) {
	k, err := entry.ParseStreamKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// ParseLevel parses the level of a log. The default is info.
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

// ConfigDigest returns the SHA-256 of the folder's configuration in
// hexadecimal, or "" if it cannot be read.
func ConfigDigest(dir string) string {
	text, err := bounded.ReadFile(filepath.Join(dir, ConfigFile), bounded.Config)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

// OperatorPrefix is the prefix of operators' tokens.
const OperatorPrefix = "mno_"
