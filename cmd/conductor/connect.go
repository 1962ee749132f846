package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/receipt"
)

// options reads the job file and returns the surroundings of its job.
func (f *jobFlags) options(a *term.App) (run.Options, error) {
	text, err := bounded.ReadFile(f.Job, job.MaxBytes)
	if err != nil {
		return run.Options{}, fmt.Errorf("read the job: %w", err)
	}
	j, err := job.Parse(text)
	if err != nil {
		return run.Options{}, fmt.Errorf("%s: %w", f.Job, err)
	}
	o := run.Options{Job: j, File: filepath.Base(f.Job), Dir: filepath.Dir(f.Job), Actor: f.Actor}
	if o.Actor == "" {
		o.Actor = systemUser()
	}
	config, err := databaseConfig(j)
	if err != nil {
		return o, err
	}
	o.Connect = func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, config.Copy()) }
	o.Ledger = ledgerOf(j, o.Dir, nil)
	if name := j.ACA.PrometheusEnv; name != "" {
		if o.Prometheus = os.Getenv(name); o.Prometheus == "" {
			return o, fmt.Errorf("the environment variable %s, which aca.prometheus_env names, is not set", name)
		}
		if _, ok := job.ParseURL(o.Prometheus); !ok {
			return o, fmt.Errorf("the environment variable %s, which aca.prometheus_env names, must contain an http or https URL", name)
		}
	}
	if o.TrustPolicy, err = bounded.ReadFile(in(o.Dir, j.Ledger.TrustPolicy), maxPolicy); err != nil {
		return o, fmt.Errorf("ledger.trust_policy: %w", err)
	}
	return o, nil
}

// ledgerOf returns the function that opens the sender of a job's evidence. The
// traces may be nil.
func ledgerOf(j *job.Job, dir string, traces trace.TracerProvider) func(record.Outbox, record.Job) (*record.Sender, error) {
	return func(outbox record.Outbox, id record.Job) (*record.Sender, error) {
		options, err := ledgerOptions(j, dir)
		if err != nil {
			return nil, err
		}
		return record.New(record.Options{Ledger: options, Outbox: outbox, Job: id, MaxWait: 10 * time.Second, Traces: traces})
	}
}

const (
	maxPolicy       = 1 << 20
	maxCertificates = 1 << 20
)

func systemUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

// in returns a path that is relative to the folder of the job file.
func in(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// databaseConfig returns the configuration of connections. Errors do not
// contain the connection string, which may contain a password.
func databaseConfig(j *job.Job) (*pgx.ConnConfig, error) {
	dsn, err := databaseDSN(j)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("the connection string of the database is invalid: it must be a URL such as postgres://user@host/database, or have the form key=value")
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "muniment conductor " + j.Name
	}
	return config, nil
}

func databaseDSN(j *job.Job) (string, error) {
	if name := j.Database.DSNEnv; name != "" {
		dsn := os.Getenv(name)
		if dsn == "" {
			return "", fmt.Errorf("the environment variable %s, which database.dsn_env names, is not set", name)
		}
		return dsn, nil
	}
	return j.Database.DSN, nil
}

// rehearsalDSNs returns the connection strings of the database and of the
// user's clone, which is empty if there is none.
func rehearsalDSNs(j *job.Job) (dsn, clone string, err error) {
	if dsn, err = databaseDSN(j); err != nil || j.Rehearsal.DSNEnv == "" {
		return dsn, "", err
	}
	if clone = os.Getenv(j.Rehearsal.DSNEnv); clone == "" {
		err = fmt.Errorf("the environment variable %s, which rehearsal.dsn_env names, is not set", j.Rehearsal.DSNEnv)
	}
	return dsn, clone, err
}

// ledgerOptions returns the options of the client. The token is in the file of
// the job, or in MUNIMENT_TOKEN.
func ledgerOptions(j *job.Job, dir string) (o muniment.Options, err error) {
	l := j.Ledger
	o = muniment.Options{Server: l.URL, Tenant: l.Tenant, UserAgent: "muniment-conductor"}
	text, err := bounded.ReadFile(in(dir, l.TrustPolicy), maxPolicy)
	if err != nil {
		return o, fmt.Errorf("ledger.trust_policy: %w", err)
	}
	if o.Policy, err = receipt.ParseTrustPolicy(l.TrustPolicy, text); err != nil {
		return o, fmt.Errorf("ledger.trust_policy: %w", err)
	}
	switch {
	case l.IdentityToken != "":
		o.Identity = identity(l, dir)
	case l.TokenFile != "":
		secret, err := bounded.ReadSecret(in(dir, l.TokenFile))
		if err != nil {
			return o, fmt.Errorf("ledger.token_file: %w", err)
		}
		o.Token = strings.TrimSpace(string(secret))
	default:
		if o.Token = strings.TrimSpace(os.Getenv("MUNIMENT_TOKEN")); o.Token == "" {
			return o, errors.New("no credentials for the ledger: specify ledger.token_file or ledger.identity_token in the job, or set MUNIMENT_TOKEN")
		}
	}
	if l.CA == "" {
		return o, nil
	}
	pem, err := bounded.ReadFile(in(dir, l.CA), maxCertificates)
	if err != nil {
		return o, fmt.Errorf("ledger.ca_file: %w", err)
	}
	roots, err := pemfile.Pool(pem)
	if err != nil {
		return o, fmt.Errorf("ledger.ca_file: %s: %w", l.CA, err)
	}
	o.HTTPClient = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}}
	return o, nil
}

// identity returns the source of identity tokens.
func identity(l job.Ledger, dir string) func(context.Context) (string, error) {
	if l.IdentityToken == "auto" {
		return muniment.JobIdentity(l.URL, nil)
	}
	return func(context.Context) (string, error) {
		data, err := bounded.ReadSecret(in(dir, l.IdentityToken))
		if err != nil {
			return "", fmt.Errorf("ledger.identity_token: %w", err)
		}
		return strings.TrimSpace(string(data)), nil
	}
}

func closeConn(conn *pgx.Conn) { _ = conn.Close(context.Background()) }
