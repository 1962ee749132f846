package job

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/internal/strictyaml"
)

// Parse reads a job file and fills in the defaults. The error is a
// *strictyaml.Error with every problem of the file and its position.
func Parse(text []byte) (*Job, error) {
	r := &parser{&strictyaml.Document{Noun: "job", Columns: true}, defaults()}
	if root := r.ParseText(text, MaxBytes); root != nil {
		r.read(root)
		if len(r.Problems) == 0 {
			r.check(root)
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	r.job.Text, r.job.SHA256 = text, digest(text)
	return r.job, nil
}

func defaults() *Job {
	return &Job{
		Copy: Copy{Target: 200 * time.Millisecond, Chunk: 500, Most: 50_000},
		Throttle: Throttle{
			ReplicationLag: 10 * time.Second, DeadTuples: 0.3, Vacuum: true,
			BlockedSessions: 5, LockQueue: 1, OldestTransaction: 15 * time.Minute,
		},
		Checkpoint: Checkpoint{Every: 5, Sample: 1000, MaxUnreported: 2},
		ACA:        ACA{Threshold: 0.95, Below: Pause, Pairs: 6, MinPairs: 6, Window: 5 * time.Second},
		Rehearsal:  Rehearsal{MaxAge: 24 * time.Hour, Rate: 50, For: 5 * time.Second},
		Cutover:    Cutover{LockTimeout: 500 * time.Millisecond, Attempts: 30, Stage: "cutover"},
	}
}

type reader = func(n *yaml.Node, field string)

type parser struct {
	*strictyaml.Document
	job *Job
}

func (r *parser) read(root *yaml.Node) {
	j := r.job
	r.Members(root, "", map[string]reader{
		"version":  func(n *yaml.Node, f string) { r.Number(n, f, 1, 1) },
		"name":     r.matching(&j.Name, jobName, "must be 1 to 40 lowercase letters, digits and hyphens, the first a letter"),
		"entity":   r.text(&j.Entity, 256),
		"database": r.members(map[string]reader{"dsn": r.text(&j.Database.DSN, 4096), "dsn_env": r.matching(&j.Database.DSNEnv, variable, notVariable)}),
		"table":    r.table,
		"column":   r.text(&j.Column, 63),
		"type":     r.text(&j.Type, 1024),
		"up":       r.text(&j.Up, 32<<10),
		"down":     r.text(&j.Down, 32<<10),
		"lossy":    r.boolean(&j.Lossy),
		"names": r.members(map[string]reader{
			"shadow": r.text(&j.Names.Shadow, 63), "retired": r.text(&j.Names.Retired, 63), "mark": r.text(&j.Names.Mark, 63),
		}),
		"windows": func(n *yaml.Node, f string) { r.List(n, f, 64, r.window) },
		"copy": r.members(map[string]reader{
			"target": r.duration(&j.Copy.Target, time.Millisecond, time.Minute), "max_rate": r.number(&j.Copy.MaxRate, 1, 1<<30),
			"chunk": r.number(&j.Copy.Chunk, 1, 1<<20), "max_chunk": r.number(&j.Copy.Most, 1, 1<<20),
		}),
		"throttle":    r.throttle,
		"checkpoints": r.checkpoints,
		"aca":         r.aca,
		"ledger": r.members(map[string]reader{
			"url": r.text(&j.Ledger.URL, 2048), "tenant": r.text(&j.Ledger.Tenant, 256), "token_file": r.text(&j.Ledger.TokenFile, 4096), "identity_token": r.text(&j.Ledger.IdentityToken, 4096),
			"trust_policy": r.text(&j.Ledger.TrustPolicy, 4096), "ca_file": r.text(&j.Ledger.CA, 4096),
		}),
		"rehearsal": r.rehearsal,
		"cutover":   r.cutover,
	})
}

var (
	jobName  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)
	variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	seed     = regexp.MustCompile(`^[0-9a-f]{32}$`)
	name     = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)
)

const notVariable = "must be the name of an environment variable"

func (r *parser) throttle(n *yaml.Node, field string) {
	t := &r.job.Throttle
	r.Members(n, field, map[string]reader{
		"replication_lag":    r.duration(&t.ReplicationLag, 0, 24*time.Hour),
		"wal_rate":           r.bytes(&t.WALRate),
		"dead_tuples":        r.share(&t.DeadTuples),
		"vacuum":             r.boolean(&t.Vacuum),
		"blocked_sessions":   r.number(&t.BlockedSessions, 0, 10_000),
		"lock_queue":         r.number(&t.LockQueue, 0, 10_000),
		"oldest_transaction": r.duration(&t.OldestTransaction, 0, 30*24*time.Hour),
		"probe":              r.members(map[string]reader{"sql": r.text(&t.Probe.SQL, 8192), "max": r.duration(&t.Probe.Max, time.Microsecond, time.Minute)}),
		"query":              r.members(map[string]reader{"sql": r.text(&t.Query.SQL, 8192), "max": r.float(&t.Query.Max, math.SmallestNonzeroFloat64, math.MaxFloat64)}),
	})
}

func (r *parser) checkpoints(n *yaml.Node, field string) {
	c := &r.job.Checkpoint
	r.Members(n, field, map[string]reader{
		"every": r.float(&c.Every, 0.01, 100), "sample": r.number(&c.Sample, 0, 10_000),
		"max_null_ratio": r.share(&c.MaxNullRatio), "max_unreported": r.number(&c.MaxUnreported, 0, 1000),
	})
}

func (r *parser) aca(n *yaml.Node, field string) {
	a := &r.job.ACA
	r.Members(n, field, map[string]reader{
		"threshold": r.share(&a.Threshold), "pairs": r.number(&a.Pairs, 0, 128),
		"below": func(n *yaml.Node, f string) {
			a.Below = Action(r.oneOf(n, f, string(Slow), string(Pause), string(Rollback)))
		},
		"window":     r.duration(&a.Window, 100*time.Millisecond, time.Hour),
		"min_pairs":  r.number(&a.MinPairs, 1, 128),
		"seed":       r.matching(&a.Seed, seed, "must be 32 lowercase hexadecimal digits"),
		"prometheus": r.text(&a.Prometheus, 2048), "prometheus_env": r.matching(&a.PrometheusEnv, variable, notVariable),
		"database": r.boolean(&a.Database),
		"checks":   func(n *yaml.Node, f string) { r.List(n, f, 64, r.acaCheck) },
	})
}

func (r *parser) acaCheck(n *yaml.Node, field string) {
	c := Check{Decides: true}
	r.Members(n, field, map[string]reader{
		"name": r.matching(&c.Name, name, "must be 1 to 64 lowercase letters, digits and hyphens, the first a letter"),
		"kind": func(n *yaml.Node, f string) {
			if c.Kind = r.oneOf(n, f, "counter", "tail", "errors"); c.Kind == "tail" {
				c.Decides = false
			}
		},
		"query": r.text(&c.Query, 8192), "per": r.text(&c.Per, 8192), "quantile": r.float(&c.Quantile, 0.5, 0.9999),
		"margin": r.optional(&c.Margin, 0, 100), "absolute": r.optional(&c.Absolute, 0, 1e18),
		"decrease": r.boolean(&c.Decrease), "decides": r.boolean(&c.Decides),
	})
	switch {
	case c.Name == "" || c.Kind == "" || c.Query == "" || c.Per == "":
		r.Wrong(n, field, "must have name, kind, query and per")
	case (c.Kind == "tail") != (c.Quantile != 0):
		r.Wrong(n, field, "quantile is required for checks of the kind tail, and only for them")
	case slices.ContainsFunc(r.job.ACA.Checks, func(o Check) bool { return o.Name == c.Name }):
		r.Wrong(n, field, "duplicate name %q", c.Name)
	}
	r.job.ACA.Checks = append(r.job.ACA.Checks, c)
}

func (r *parser) rehearsal(n *yaml.Node, field string) {
	h := &r.job.Rehearsal
	r.Members(n, field, map[string]reader{
		"max_age": r.duration(&h.MaxAge, time.Second, 30*24*time.Hour), "dsn_env": r.matching(&h.DSNEnv, variable, notVariable),
		"bin": r.text(&h.Bin, 4096), "user": r.text(&h.User, 64), "script": r.text(&h.Script, 4096),
		"rate": r.number(&h.Rate, 1, 100_000), "for": r.duration(&h.For, 0, time.Hour),
	})
}

func (r *parser) cutover(n *yaml.Node, field string) {
	c := &r.job.Cutover
	globs := func(to *[]string) reader {
		return func(n *yaml.Node, f string) { *to = r.Texts(n, f, 64, glob.Check) }
	}
	r.Members(n, field, map[string]reader{
		"lock_timeout": r.duration(&c.LockTimeout, time.Millisecond, time.Minute), "attempts": r.number(&c.Attempts, 1, 1000),
		"stage": r.matching(&c.Stage, name, "must be the name of a stage"), "environment": r.text(&c.Environment, 256),
		"force": r.members(map[string]reader{
			"users": globs(&c.Force.Users), "applications": globs(&c.Force.Applications),
			"min_age": r.duration(&c.Force.MinAge, 0, 24*time.Hour), "terminate_after": r.duration(&c.Force.TerminateAfter, 0, time.Hour),
		}),
	})
}

func (r *parser) table(n *yaml.Node, field string) {
	text := r.Text(n, field)
	if text == "" {
		return
	}
	parts, err := splitName(text)
	if err != nil || len(parts) != 2 {
		r.Wrong(n, field, "must be SCHEMA.TABLE, with double quotes around names that need them in SQL")
		return
	}
	r.job.Schema, r.job.Table = parts[0], parts[1]
}

// splitName splits a qualified name by the rules of SQL: names without quotes
// are folded to lower case.
func splitName(s string) (parts []string, err error) {
	for {
		var part string
		if strings.HasPrefix(s, `"`) {
			end := 1
			for {
				at := strings.IndexByte(s[end:], '"')
				if at < 0 {
					return nil, fmt.Errorf("quote without end")
				}
				end += at + 1
				if !strings.HasPrefix(s[end:], `"`) {
					break
				}
				end++
			}
			part, s = strings.ReplaceAll(s[1:end-1], `""`, `"`), s[end:]
		} else {
			end := strings.IndexAny(s+".", `."`)
			part, s = strings.ToLower(s[:end]), s[end:]
			if !plainName.MatchString(part) {
				return nil, fmt.Errorf("%q needs quotes", part)
			}
		}
		if part == "" || len(part) > 63 {
			return nil, fmt.Errorf("names have 1 to 63 bytes")
		}
		parts = append(parts, part)
		rest, more := strings.CutPrefix(s, ".")
		if !more {
			if s != "" {
				return nil, fmt.Errorf("unexpected %q", s)
			}
			return parts, nil
		}
		s = rest
	}
}

var plainName = regexp.MustCompile(`^[\pL_][\pL\pN_$]*$`)

func (r *parser) window(n *yaml.Node, field string) {
	w := Window{Zone: time.UTC, From: -1, To: -1}
	r.Members(n, field, map[string]reader{
		"days": func(n *yaml.Node, f string) {
			for _, d := range r.Texts(n, f, 7, func(s string) error {
				if _, ok := weekdays[s]; !ok {
					return fmt.Errorf("must be one of mon, tue, wed, thu, fri, sat and sun")
				}
				return nil
			}) {
				w.Days = append(w.Days, weekdays[d])
			}
		},
		"from": r.clock(&w.From), "to": r.clock(&w.To),
		"timezone": func(n *yaml.Node, f string) {
			text := r.Text(n, f)
			zone, err := time.LoadLocation(text)
			if err != nil || text == "" || text == "Local" {
				r.Wrong(n, f, "must be a time zone of the IANA database, such as Europe/Berlin")
				return
			}
			w.Zone = zone
		},
	})
	if w.From < 0 || w.To < 0 {
		r.Wrong(n, field, "must have from and to")
	}
	r.job.Windows = append(r.job.Windows, w)
}

var weekdays = map[string]time.Weekday{
	"sun": time.Sunday, "mon": time.Monday, "tue": time.Tuesday, "wed": time.Wednesday,
	"thu": time.Thursday, "fri": time.Friday, "sat": time.Saturday,
}

// check compares members with each other.
func (r *parser) check(root *yaml.Node) {
	j := r.job
	for field, value := range map[string]string{
		"name": j.Name, "entity": j.Entity, "table": j.Table, "column": j.Column, "type": j.Type, "up": j.Up, "down": j.Down,
		"ledger.url": j.Ledger.URL, "ledger.tenant": j.Ledger.Tenant, "ledger.trust_policy": j.Ledger.TrustPolicy,
	} {
		if value == "" {
			r.Wrong(root, field, "must be specified")
		}
	}
	if (j.Database.DSN == "") == (j.Database.DSNEnv == "") {
		r.Wrong(r.At("database"), "database", "must have either dsn or dsn_env")
	}
	if hasPassword(j.Database.DSN) {
		r.Wrong(r.At("database.dsn"), "database.dsn", "must not contain a password: use dsn_env, PGPASSFILE or a certificate")
	}
	j.Names.fill(j.Column)
	names := map[string]string{"names.shadow": j.Names.Shadow, "names.retired": j.Names.Retired, "names.mark": j.Names.Mark}
	for field, n := range names {
		if len(n) > 63 {
			r.Wrong(r.At(field), field, "%q has %d bytes, above PostgreSQL's limit of 63: specify a shorter name", n, len(n))
		}
	}
	if all := slices.Sorted(maps.Values(names)); len(slices.Compact(append(all, j.Column))) != 4 || slices.Contains(all[:3], j.Column) {
		r.Wrong(r.At("names"), "names", "the names of the columns must differ")
	}
	if len("zzz_muniment_"+j.Column) > 63 {
		r.Wrong(r.At("column"), "column", "the name of the trigger, zzz_muniment_%s, would exceed 63 bytes: use a shorter name for the column first", j.Column)
	}
	if j.Copy.Most < j.Copy.Chunk {
		r.Wrong(r.At("copy"), "copy", "max_chunk must be at least chunk")
	}
	r.address("ledger.url", j.Ledger.URL, "use token_file or identity_token")
	r.address("aca.prometheus", j.ACA.Prometheus, "use prometheus_env")
	if j.ACA.Prometheus != "" && j.ACA.PrometheusEnv != "" {
		r.Wrong(r.At("aca.prometheus"), "aca.prometheus", "must not be specified with prometheus_env")
	}
	if j.ACA.Prometheus == "" && j.ACA.PrometheusEnv == "" && len(j.ACA.Checks) > 0 {
		r.Wrong(r.At("aca.checks"), "aca.prometheus", "must be specified for checks with queries, or prometheus_env")
	}
	if j.ACA.MinPairs > j.ACA.Pairs && j.ACA.Pairs > 0 {
		r.Wrong(r.At("aca.min_pairs"), "aca.min_pairs", "must be at most pairs")
	}
	r.pairs("throttle.probe", j.Throttle.Probe.SQL != "", j.Throttle.Probe.Max != 0)
	r.pairs("throttle.query", j.Throttle.Query.SQL != "", j.Throttle.Query.Max != 0)
}

// address checks a URL, which must not be quoted because it can contain a
// password. Remedy is where credentials belong.
func (r *parser) address(field, text, remedy string) {
	if text == "" {
		return
	}
	switch u, ok := ParseURL(text); {
	case !ok:
		r.Wrong(r.At(field), field, "must be an http or https URL")
	case u.User != nil:
		r.Wrong(r.At(field), field, "must not contain credentials: %s", remedy)
	}
}

func (r *parser) pairs(field string, sql, limit bool) {
	if sql != limit {
		r.Wrong(r.At(field), field, "must have both sql and max")
	}
}

func (n *Names) fill(column string) {
	for to, suffix := range map[*string]string{&n.Shadow: "__new", &n.Retired: "__old", &n.Mark: "__todo"} {
		if *to == "" {
			*to = column + suffix
		}
	}
}
