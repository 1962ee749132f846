package baseline

import (
	"fmt"
	"regexp"
	"strconv"

	"google.golang.org/protobuf/types/known/structpb"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/intoto"
)

// Stage is the stage of decisions about base images. Only the control sets of
// this package have it.
const Stage = "base-image"

// Names of the requirement for a vetting, and of the parameter that its
// condition reads.
const (
	vettingName    = "vetting"
	expiresMember  = "expires"
	enforce        = "enforce"
	activeState    = "active"
	sharedControls = "SHARED"
)

// vettingLasts holds if the newest vetting covers the time that the file
// claims.
const vettingLasts = `evidence.filter(e, e.requirement == "vetting")[0].conforming && evidence.filter(e, e.requirement == "vetting")[0].facts.vetting.vetted <= now && evidence.filter(e, e.requirement == "vetting")[0].facts.vetting.expires >= timestamp(parameters.expires)`

// Set returns the control set by which images of the file are decided about: a
// control for each of them.
func (f *File) Set(images ...*Image) *catalog.Set {
	s := &catalog.Set{Version: f.Version, Stages: []string{Stage}, Signers: f.Signers}
	for i, image := range images {
		s.Controls = append(s.Controls, f.control(fmt.Sprintf("IMAGE-%d", i), image))
	}
	return s
}

// control returns the control of an image.
func (f *File) control(id string, image *Image) *catalog.Control {
	c := &catalog.Control{
		Id: id, State: activeState, Severity: "high",
		Title:     "Evidence about " + image.Reference,
		AppliesTo: &munimentv1.ControlTarget{Types: []string{artifact.Image}, Names: []string{image.Reference}},
		Modes:     []*catalog.Mode{{Stage: Stage, Mode: enforce}},
		Check:     &catalog.Check{Require: f.requireOf(image)},
	}
	if v := image.Vetted; v != nil {
		c.Check.Require = []*catalog.Requirement{{Name: vettingName, Kinds: []string{kindname.Attestation}, PredicateTypes: []string{intoto.KindType(kindname.Vetting)}, Signers: v.Signers}}
		c.Check.Condition = vettingLasts
		c.Parameters = &structpb.Struct{Fields: map[string]*structpb.Value{expiresMember: structpb.NewStringValue(timeText(v.Expires))}}
	}
	return c
}

func (f *File) requireOf(image *Image) []*catalog.Requirement {
	if len(image.Require) > 0 {
		return image.Require
	}
	return f.Require
}

// checkSet checks the file by the rules for control sets.
func (p *parser) checkSet() {
	set := p.file.Set(p.file.Images...)
	if len(p.file.Require) > 0 {
		set.Controls = append(set.Controls, p.file.control(sharedControls, &Image{Reference: "-"}))
	}
	for _, problem := range set.Problems() {
		field, ok := p.fieldOf(problem.Field)
		if !ok {
			continue // reported for the file's own requirements
		}
		p.Wrong(p.At(field), field, "%s", problem.Message)
	}
}

var controlField = regexp.MustCompile(`^controls\[(\d+)\](?:\.check\.require(\[\d+\].*))?`)

// fieldOf returns the field of the file for one of the control set. It returns
// false for requirements that an image shares with others.
func (p *parser) fieldOf(field string) (string, bool) {
	m := controlField.FindStringSubmatch(field)
	if m == nil {
		return field, true
	}
	i, err := strconv.Atoi(m[1])
	if err != nil || i >= len(p.file.Images) {
		return "require" + m[2], true
	}
	at := fmt.Sprintf("images[%d]", i)
	switch image := p.file.Images[i]; {
	case image.Vetted != nil:
		return at + ".vetted.signers", true
	case len(image.Require) > 0:
		return at + ".require" + m[2], true
	case m[2] != "":
		return "", false
	}
	return at, true
}
