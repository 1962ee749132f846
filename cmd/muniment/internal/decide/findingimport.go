package decide

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/facts"
)

type findingImportCmd struct {
	File string `arg:"" help:"CSV, SARIF or JSON file, or - for standard input." predictor:"file"`
	remote.Flags
	Format  string            `help:"Format of the file. Default: by its name." enum:",csv,sarif,json" default:"" placeholder:"csv|sarif|json"`
	Map     map[string]string `help:"Column or member of the file that has a field's value, as FIELD=COLUMN. Fields: id, title, severity, status, source, detected, due, controls, subject, location, description, score, aliases. May be repeated." placeholder:"FIELD=COLUMN"`
	Value   map[string]string `help:"Severity or state of the file that stands for one of ours, as THEIRS=OURS, such as Blocker=critical. May be repeated." placeholder:"THEIRS=OURS"`
	Source  string            `help:"Who reported the findings, if the file does not contain it." placeholder:"TEXT"`
	Control []string          `help:"Control that every finding is about, besides those in the file. May be repeated." placeholder:"ID"`
	Subject []string          `help:"Artifact that every finding is about, as sha256:…, with NAME@ before it if it has a name. May be repeated." placeholder:"[NAME@]sha256:…"`
	DryRun  bool              `help:"Read the file and print the findings, and record nothing."`
	JSON    bool              `help:"Print one JSON object for each finding."`
}

func (findingImportCmd) Help() string {
	return `Running it again is safe: a finding that is already recorded in the same form is not recorded again.

A CSV file has a header row. A JSON file has an array of objects, or an object on each line. Several controls or aliases in one cell are separated by ';'.
In SARIF, the rule's ID is the finding's ID, and 'security-severity' or the level its severity.

Exit code: 0 all recorded; 1 some were refused; 2 the file cannot be read, and nothing was recorded.

Examples:
  muniment finding import audit-2026.csv --map id=Ref --map title=Finding --map severity=Rating --value Major=high --source "external audit" --control ACCESS-REVIEW
  muniment finding import semgrep.sarif --subject registry.example.com/app@sha256:2cf24dba…
  muniment finding import findings.json --dry-run`
}

// Bounds of an import.
const (
	maxImportBytes = 64 << 20
	maxImported    = 10_000
)

// findingFields are the fields that an import can fill.
var findingFields = []string{"id", "title", "severity", "status", "source", "detected", "due", "controls", "subject", "location", "description", "score", "aliases"}

// A record has the values of one finding of a file by field, and its place in
// the file.
type record struct {
	place  string
	values map[string]string
}

func (c *findingImportCmd) Run(a *term.App) error {
	for field := range c.Map {
		if !slices.Contains(findingFields, field) {
			return fmt.Errorf("--map: unknown field %q: use %s", field, strings.Join(findingFields, ", "))
		}
	}
	text, err := c.read(a)
	if err != nil {
		return err
	}
	records, err := c.parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	findings, err := c.convert(records, time.Now())
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if c.DryRun {
		return c.preview(a, findings)
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	return c.send(a, client, findings)
}

func (c *findingImportCmd) read(a *term.App) ([]byte, error) {
	if c.File == "-" {
		text, err := bounded.ReadAll(a.Stdin, maxImportBytes)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		return text, nil
	}
	text, err := bounded.ReadFile(c.File, maxImportBytes)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file", c.File)
	}
	return text, err
}

func (c *findingImportCmd) parse(text []byte) ([]record, error) {
	format := c.Format
	if format == "" {
		switch strings.ToLower(filepath.Ext(c.File)) {
		case ".csv":
			format = "csv"
		case ".sarif":
			format = "sarif"
		case ".json", ".jsonl", ".ndjson":
			format = "json"
			if bytes.Contains(text[:min(len(text), 4096)], []byte(`"runs"`)) || bytes.Contains(text[:min(len(text), 4096)], []byte("sarif")) {
				format = "sarif"
			}
		default:
			return nil, errors.New("cannot tell the format from the name: add --format csv, sarif or json")
		}
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	var records []record
	var err error
	switch format {
	case "csv":
		records, err = c.parseCSV(text)
	case "sarif":
		records, err = parseSARIF(text)
	default:
		records, err = c.parseJSON(text)
	}
	switch {
	case err != nil:
		return nil, err
	case len(records) == 0:
		return nil, errors.New("no findings in the file")
	case len(records) > maxImported:
		return nil, fmt.Errorf("%d findings, above the limit of %d: split the file", len(records), maxImported)
	}
	return records, nil
}

// column returns the name in the file of a field.
func (c *findingImportCmd) column(field string) string {
	if name, ok := c.Map[field]; ok {
		return name
	}
	return field
}

func (c *findingImportCmd) parseCSV(text []byte) ([]record, error) {
	r := csv.NewReader(bytes.NewReader(text))
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("header row: %w", err)
	}
	at := map[string]int{}
	for _, field := range findingFields {
		name := c.column(field)
		i := slices.IndexFunc(head, func(h string) bool { return strings.EqualFold(strings.TrimSpace(h), name) })
		if _, mapped := c.Map[field]; i < 0 && mapped {
			return nil, fmt.Errorf("no column %q: the file has %s", name, strings.Join(head, ", "))
		}
		if i >= 0 {
			at[field] = i
		}
	}
	var all []record
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		line, _ := r.FieldPos(0)
		rec := record{fmt.Sprintf("line %d", line), map[string]string{}}
		for field, i := range at {
			rec.values[field] = strings.TrimSpace(row[i])
		}
		if all = append(all, rec); len(all) > maxImported {
			return all, nil
		}
	}
}

func (c *findingImportCmd) parseJSON(text []byte) ([]record, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	array := bytes.HasPrefix(bytes.TrimSpace(text), []byte("["))
	if array {
		if _, err := dec.Token(); err != nil {
			return nil, err
		}
	}
	var all []record
	for dec.More() && len(all) <= maxImported {
		var m map[string]any
		if err := dec.Decode(&m); err != nil {
			return nil, fmt.Errorf("finding %d: %w", len(all)+1, err)
		}
		rec := record{fmt.Sprintf("finding %d", len(all)+1), map[string]string{}}
		for _, field := range findingFields {
			v, ok := m[c.column(field)]
			if _, mapped := c.Map[field]; !ok && mapped {
				return nil, fmt.Errorf("%s: no member %q", rec.place, c.column(field))
			}
			text, err := cell(v)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", rec.place, c.column(field), err)
			}
			rec.values[field] = text
		}
		all = append(all, rec)
	}
	if array {
		if _, err := dec.Token(); err != nil {
			return nil, fmt.Errorf("after finding %d: %w", len(all), err)
		}
	}
	return all, nil
}

// cell returns a JSON value as the text that a CSV cell would have.
func cell(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return strings.TrimSpace(v), nil
	case json.Number:
		return v.String(), nil
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			text, err := cell(e)
			if err != nil {
				return "", err
			}
			parts[i] = text
		}
		return strings.Join(parts, ";"), nil
	}
	return "", errors.New("must be a text, a number or a list")
}

// sarifLog has the members of a SARIF 2.1.0 log that findings are read from.
type sarifLog struct {
	Runs []struct {
		Tool struct {
			Driver struct {
				Name    string      `json:"name"`
				Version string      `json:"version"`
				Rules   []sarifRule `json:"rules"`
			} `json:"driver"`
		} `json:"tool"`
		Results []struct {
			RuleID    string `json:"ruleId"`
			RuleIndex *int   `json:"ruleIndex"`
			Level     string `json:"level"`
			Message   struct {
				Text string `json:"text"`
			} `json:"message"`
			Locations []struct {
				PhysicalLocation struct {
					ArtifactLocation struct {
						URI string `json:"uri"`
					} `json:"artifactLocation"`
					Region struct {
						StartLine int `json:"startLine"`
					} `json:"region"`
				} `json:"physicalLocation"`
			} `json:"locations"`
		} `json:"results"`
	} `json:"runs"`
}

type sarifRule struct {
	ID               string `json:"id"`
	ShortDescription struct {
		Text string `json:"text"`
	} `json:"shortDescription"`
	Properties struct {
		SecuritySeverity any `json:"security-severity"` // CVSS score, as a text or a number
	} `json:"properties"`
}

func parseSARIF(text []byte) ([]record, error) {
	var log sarifLog
	if err := json.Unmarshal(text, &log); err != nil {
		return nil, fmt.Errorf("not SARIF: %w", err)
	}
	var all []record
	for r, run := range log.Runs {
		source := strings.TrimSpace(run.Tool.Driver.Name + " " + run.Tool.Driver.Version)
		for i, res := range run.Results {
			rec := record{fmt.Sprintf("run %d, result %d", r+1, i+1), map[string]string{"source": source, "id": res.RuleID, "description": res.Message.Text}}
			rules := run.Tool.Driver.Rules
			at := slices.IndexFunc(rules, func(rule sarifRule) bool { return rule.ID == res.RuleID })
			if at < 0 && res.RuleIndex != nil && *res.RuleIndex >= 0 && *res.RuleIndex < len(rules) {
				at = *res.RuleIndex
			}
			rec.values["severity"] = levelSeverity[res.Level]
			if at >= 0 {
				rule := rules[at]
				if rec.values["id"] == "" {
					rec.values["id"] = rule.ID
				}
				rec.values["title"] = rule.ShortDescription.Text
				if score, err := strconv.ParseFloat(fmt.Sprint(rule.Properties.SecuritySeverity), 64); err == nil {
					rec.values["score"], rec.values["severity"] = strconv.FormatFloat(score, 'g', -1, 64), scoreSeverity(score)
				}
			}
			if rec.values["title"] == "" {
				rec.values["title"], _, _ = strings.Cut(res.Message.Text, "\n")
			}
			if len(res.Locations) > 0 {
				p := res.Locations[0].PhysicalLocation
				rec.values["location"] = p.ArtifactLocation.URI
				if p.Region.StartLine > 0 {
					rec.values["location"] += ":" + strconv.Itoa(p.Region.StartLine)
				}
			}
			if all = append(all, rec); len(all) > maxImported {
				return all, nil
			}
		}
	}
	return all, nil
}

// levelSeverity are the severities of SARIF's levels. A result without a level
// is a warning.
var levelSeverity = map[string]string{"error": "high", "warning": "medium", "": "medium", "note": "low", "none": "info"}

// scoreSeverity returns the severity of a CVSS score. A score of 0 is info.
func scoreSeverity(score float64) string { return max(facts.Rate(score), facts.Info).String() }

// convert makes a finding of each record. It reports every record that is
// incomplete, so that they can be corrected together.
func (c *findingImportCmd) convert(records []record, now time.Time) ([]*munimentv1.Finding, error) {
	var all []*munimentv1.Finding
	var wrong []string
	for _, r := range records {
		f, err := c.finding(r, now)
		if err != nil {
			if wrong = append(wrong, r.place+": "+err.Error()); len(wrong) == 20 {
				break
			}
			continue
		}
		all = append(all, f)
	}
	if len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "\n"))
	}
	return all, nil
}

func (c *findingImportCmd) finding(r record, now time.Time) (*munimentv1.Finding, error) {
	v := r.values
	f := &munimentv1.Finding{Id: v["id"], Title: clipped(v["title"], 1024), Source: v["source"], Location: clipped(v["location"], 2048), Description: clipped(v["description"], 16384)}
	if f.Source == "" {
		f.Source = c.Source
	}
	for _, missing := range []struct{ field, value, remedy string }{
		{"id", f.Id, "use --map id=COLUMN"}, {"title", f.Title, "use --map title=COLUMN"}, {"source", f.Source, "use --source"}, {"severity", v["severity"], "use --map severity=COLUMN"},
	} {
		if missing.value == "" {
			return nil, fmt.Errorf("no %s: %s", missing.field, missing.remedy)
		}
	}
	var err error
	if f.Severity, err = c.known("severity", v["severity"], []string{"critical", "high", "medium", "low", "info", "unknown"}); err != nil {
		return nil, err
	}
	status := v["status"]
	if status == "" {
		status = "open"
	}
	if f.Status, err = c.known("status", status, []string{"open", "in-progress", "reopened"}); err != nil {
		return nil, err
	}
	detected := now
	if v["detected"] != "" {
		if detected, err = importTime(v["detected"]); err != nil {
			return nil, fmt.Errorf("detected: %w", err)
		}
	} else {
		// The day, so that a rerun on the same day is recognized.
		detected = now.UTC().Truncate(24 * time.Hour)
	}
	f.Detected = timestamppb.New(detected)
	if v["due"] != "" {
		due, err := importTime(v["due"])
		if err != nil {
			return nil, fmt.Errorf("due: %w", err)
		}
		f.Due = timestamppb.New(due)
	}
	if v["score"] != "" {
		score, err := strconv.ParseFloat(v["score"], 64)
		if err != nil {
			return nil, fmt.Errorf("score: %q is not a number", v["score"])
		}
		f.Score = &score
	}
	f.Controls, f.Aliases = slices.Concat(list(v["controls"]), c.Control), list(v["aliases"])
	slices.Sort(f.Controls)
	f.Controls = slices.Compact(f.Controls)
	for _, text := range slices.Concat(list(v["subject"]), c.Subject) {
		artifact, err := namedDigest(text)
		if err != nil {
			return nil, err
		}
		f.Subjects = append(f.Subjects, artifact)
	}
	if len(f.Subjects)+len(f.Controls) == 0 {
		return nil, errors.New("about nothing: add --subject or --control")
	}
	return f, nil
}

// known returns one of our words for one of the file's.
func (c *findingImportCmd) known(field, value string, words []string) (string, error) {
	if ours, ok := c.Value[value]; ok {
		value = ours
	}
	word := strings.ReplaceAll(strings.ToLower(value), " ", "-")
	if !slices.Contains(words, word) {
		return "", fmt.Errorf("%s: %q is not one of %s: use --value %q=…", field, value, strings.Join(words, ", "), value)
	}
	return word, nil
}

func importTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a day, such as 2026-11-28, nor a time in RFC 3339", s)
}

// list returns the parts of a cell.
func list(s string) (all []string) {
	for part := range strings.SplitSeq(s, ";") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// namedDigest reads an artifact as [NAME@]ALGORITHM:VALUE.
func namedDigest(text string) (*munimentv1.Artifact, error) {
	name, digest := "", text
	if i := strings.LastIndex(text, "@"); i >= 0 {
		name, digest = text[:i], text[i+1:]
	}
	d, err := entry.ParseDigest(digest)
	if err != nil {
		return nil, fmt.Errorf("subject %q: %w", text, err)
	}
	return &munimentv1.Artifact{Name: name, Digest: digestOf(d.String())}, nil
}

// clipped returns at most limit characters of a text.
func clipped(s string, limit int) string {
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}

func (c *findingImportCmd) preview(a *term.App, all []*munimentv1.Finding) error {
	for _, f := range all {
		row := &findingRow{ID: f.Id, Title: f.Title, Severity: f.Severity, Status: f.Status, Source: f.Source, Controls: f.Controls, Detected: answer.FormatTime(f.Detected), Due: answer.FormatTime(f.Due)}
		for _, s := range f.Subjects {
			row.Subjects = append(row.Subjects, strings.TrimSpace(s.Name+" "+answer.DigestText(s.Digest)))
		}
		if err := (term.ResultFlags{JSON: c.JSON}).Print(a, row); err != nil {
			return err
		}
	}
	return nil
}

// importGroup is the number of findings that one call records.
const importGroup = 200

// send records the findings. The idempotency key of each is the digest of its
// payload.
func (c *findingImportCmd) send(a *term.App, client *muniment.Client, all []*munimentv1.Finding) error {
	recorded, duplicates, failed := 0, 0, 0
	bar := a.Progress(int64(len(all)), "import")
	for group := range slices.Chunk(all, importGroup) {
		var subs []muniment.Submission
		for _, f := range group {
			payload, err := protojson.MarshalOptions{}.Marshal(f)
			if err != nil {
				return err
			}
			payload = compactJSON(payload)
			sum := sha256.Sum256(payload)
			subs = append(subs, muniment.Submission{Kind: kindname.Finding, Payload: payload, IdempotencyKey: "import-" + hex.EncodeToString(sum[:])})
		}
		results, err := client.AppendBatch(a.Ctx, subs)
		if err != nil {
			return err
		}
		for i, r := range results {
			_ = bar.Add(1)
			switch {
			case r.Err != nil:
				failed++
				fmt.Fprintf(a.Stderr, "%s: %s\n", term.Quoted(group[i].Id), remote.ErrorText(r.Err))
				continue
			case r.Duplicate:
				duplicates++
			}
			recorded++
			if c.JSON {
				if err := term.WriteJSON(a.Stdout, &findingChange{group[i].Id, group[i].Status, r.Index}); err != nil {
					return err
				}
			}
		}
	}
	_ = bar.Finish()
	fmt.Fprintf(a.Stderr, "%s recorded (%d already recorded), %d failed\n", term.Count(recorded, "finding"), duplicates, failed)
	if failed > 0 {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

// compactJSON removes the white space that protojson varies.
func compactJSON(text []byte) []byte {
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return text
	}
	return out.Bytes()
}
