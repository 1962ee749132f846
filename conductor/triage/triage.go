// Package triage loads the configuration of incident triage. See
// docs/spec/triage.md.
package triage

import (
	"errors"
	"fmt"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/playbook"
)

// A Config consists of the three files.
type Config struct {
	Catalogue *catalogue.Catalogue
	Playbooks playbook.Playbooks
	Actions   *action.Catalogue
}

// A File is the name and the text of a file.
type File struct {
	Name string
	Text []byte
}

// Load reads the three files, or returns an error with all problems. Playbooks
// are checked only if the other two files are valid.
func Load(types, playbooks, actions File) (*Config, error) {
	var c Config
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

func in(f File, err error) error { return fmt.Errorf("%s:\n%w", f.Name, err) }
