package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// provenanceCommand prints an in-toto statement with a predicate of the type
// https://slsa.dev/provenance/v1.
type provenanceCommand struct {
	Subjects []string          `arg:"" help:"Files, and images as NAME@sha256:…."`
	Version  string            `required:"" help:"Version of the release."`
	Source   string            `required:"" help:"URL of the repository."`
	Revision string            `required:"" help:"Commit that it was built from."`
	Builder  string            `required:"" help:"URL of the workflow that built it."`
	Systems  []string          `required:"" help:"Systems and architectures."`
	Tools    map[string]string `required:"" help:"Versions of the tools whose output depends on them, as go=go1.26.0." mapsep:","`
	Started  time.Time         `required:"" help:"Time at which the build began."`
}

const statementType = "https://in-toto.io/Statement/v1"

// The types of a statement, as far as it is written here.
type (
	statement struct {
		Type          string     `json:"_type"`
		Subject       []resource `json:"subject"`
		PredicateType string     `json:"predicateType"`
		Predicate     any        `json:"predicate"`
	}
	resource struct {
		Name   string            `json:"name,omitempty"`
		URI    string            `json:"uri,omitempty"`
		Digest map[string]string `json:"digest,omitempty"`
	}
	predicate struct {
		BuildDefinition definition `json:"buildDefinition"`
		RunDetails      details    `json:"runDetails"`
	}
	definition struct {
		BuildType            string         `json:"buildType"`
		ExternalParameters   map[string]any `json:"externalParameters"`
		InternalParameters   map[string]any `json:"internalParameters"`
		ResolvedDependencies []resource     `json:"resolvedDependencies"`
	}
	details struct {
		Builder  map[string]string    `json:"builder"`
		Metadata map[string]time.Time `json:"metadata"`
	}
)

// statementCommand prints an in-toto statement.
type statementCommand struct {
	Subjects  []string `arg:"" help:"Files, and images as NAME@sha256:…."`
	Type      string   `required:"" help:"Type of the predicate."`
	Predicate string   `required:"" help:"File with the predicate, in JSON."`
}

func (c *statementCommand) Run() error {
	data, err := os.ReadFile(c.Predicate)
	if err != nil {
		return err
	}
	subjects, err := resources(c.Subjects)
	if err != nil {
		return err
	}
	return printStatement(statement{Type: statementType, Subject: subjects, PredicateType: c.Type, Predicate: json.RawMessage(data)})
}

// resources describes files, and images as NAME@sha256:….
func resources(subjects []string) ([]resource, error) {
	var out []resource
	for _, s := range subjects {
		name, sum, image := strings.Cut(s, "@sha256:")
		if !image {
			var err error
			if sum, err = digest(s); err != nil {
				return nil, err
			}
			name = filepath.Base(s)
		}
		out = append(out, resource{Name: name, Digest: map[string]string{"sha256": sum}})
	}
	return out, nil
}

func printStatement(s statement) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(s)
}

func (c *provenanceCommand) Run() error {
	subjects, err := resources(c.Subjects)
	if err != nil {
		return err
	}
	s := statement{Type: statementType, Subject: subjects, PredicateType: "https://slsa.dev/provenance/v1"}
	s.Predicate = predicate{
		BuildDefinition: definition{
			BuildType:          "https://muniment.dev/buildtypes/release/v1",
			ExternalParameters: map[string]any{"source": c.Source, "version": c.Version, "systems": c.Systems},
			InternalParameters: map[string]any{"tools": c.Tools},
			ResolvedDependencies: []resource{
				{URI: c.Source, Digest: map[string]string{"gitCommit": c.Revision}},
			},
		},
		RunDetails: details{
			Builder:  map[string]string{"id": c.Builder},
			Metadata: map[string]time.Time{"startedOn": c.Started.UTC(), "finishedOn": time.Now().UTC().Truncate(time.Second)},
		},
	}
	return printStatement(s)
}

// digest returns the SHA-256 of a file, in hex.
func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
