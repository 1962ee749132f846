// Package triage loads the configuration of incident triage. See
// docs/spec/triage.md.
package triage

import (
	"errors"
	"fmt"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/playbook"
)

// A Config consists of the catalogue, the playbooks and the actions, and of the
// connectors if steps are to be taken.
type Config struct {
	Catalogue *catalogue.Catalogue
	Playbooks playbook.Playbooks
	Actions   *action.Catalogue
	// Connectors are set by Connect.
	Connectors map[string]connector.Connector

	actions string // the name of the file
}

// A File is the name and the text of a file.
type File struct {
	Name string
	Text []byte
}

// Load reads the three files, or returns an error with all problems. Playbooks
// are checked only if the other two files are valid.
func Load(types, playbooks, actions File) (*Config, error) {
	c := Config{actions: actions.Name}
	var err, problems error
	if c.Catalogue, err = catalogue.Parse(types.Text); err != nil {
		problems = errors.Join(problems, in(types, err))
	}
	if c.Actions, err = action.Parse(actions.Text); err != nil {
		problems = errors.Join(problems, in(actions, err))
	}
	if problems != nil {
		return nil, problems
	}
	if c.Playbooks, err = playbook.Parse(playbooks.Text, c.Catalogue, c.Actions); err != nil {
		return nil, in(playbooks, err)
	}
	return &c, nil
}

// Connect reads the file of connectors, and checks that each action has one
// that can carry it out and undo it.
func (c *Config) Connect(connectors File) error {
	all, err := connector.Load(connectors.Text)
	if err != nil {
		return in(connectors, err)
	}
	if err := connector.Check(c.Actions, all); err != nil {
		return in(File{Name: c.actions}, err)
	}
	c.Connectors = all
	return nil
}

func in(f File, err error) error { return fmt.Errorf("%s:\n%w", f.Name, err) }
