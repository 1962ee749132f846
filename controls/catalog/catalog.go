// Package catalog reads control sets (docs/spec/controls.md), from the file
// that people edit and from the entries made of it.
package catalog

import (
	"slices"

	"muniment.dev/muniment/internal/strictyaml"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// MaxSize is the size limit of a file in bytes.
const MaxSize = 1 << 20

// Parts of a control set, as its entries contain them.
type (
	Control     = munimentv1.Control
	Check       = munimentv1.ControlCheck
	Requirement = munimentv1.Requirement
	Mode        = munimentv1.ControlMode
	Signer      = munimentv1.NamedSigner
	ImagePath   = munimentv1.ImagePath
)

// A Set is a valid control set.
type Set struct {
	Version            string
	Stages             []string
	Environments       []string // patterns; empty: any
	Signers            []*Signer
	Controls           []*Control
	ValidSeconds       uint64 // longest validity of a decision; 0: 86,400
	UnknownImageFields string // Undecided or Warn; "": Undecided
	ImagePaths         []*ImagePath
}

// Values of Set.UnknownImageFields.
const (
	Undecided = "undecided"
	Warn      = "warn"
)

// A Problem is an error at one place of a control set.
type Problem = strictyaml.Problem

// An Error lists all problems of a control set.
type Error = strictyaml.Error

// Control returns the control of an ID, or nil.
func (s *Set) Control(id string) *Control {
	i := slices.IndexFunc(s.Controls, func(c *Control) bool { return c.Id == id })
	if i < 0 {
		return nil
	}
	return s.Controls[i]
}

// Signer returns the signer of a name, or nil.
func (s *Set) Signer(name string) *Signer {
	i := slices.IndexFunc(s.Signers, func(n *Signer) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return s.Signers[i]
}
