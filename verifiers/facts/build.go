package facts

import (
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
)

// resource reads a ResourceDescriptor
// (https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md).
func (r *reader) resource(to *Resource) error {
	return r.object(func(name string) error {
		switch name {
		case "name":
			return r.text(&to.Name)
		case "uri":
			return r.text(&to.URI)
		case "digest":
			return r.digests(&to.Digests)
		}
		return errUnknown
	})
}

// resources reads a list of descriptors, which are elements of the group.
func (r *reader) resources(l *List, to *[]Resource) error {
	return r.list(l, func(int) error {
		var one Resource
		if err := r.resource(&one); err != nil {
			return err
		}
		if one.IsZero() {
			return nil
		}
		if r.room(l, len(*to), lengths(one.Name, one.URI)+one.Digests.lengths()) {
			*to = append(*to, one)
		}
		return nil
	})
}

// provenanceV1 reads https://slsa.dev/spec/v1.1/provenance.
func (r *reader) provenanceV1() error {
	b := &Build{}
	err := r.object(func(name string) error {
		switch name {
		case "buildDefinition":
			return r.object(func(name string) error {
				switch name {
				case "buildType":
					return r.text(&b.Type)
				case "externalParameters":
					return r.parameters(b, &b.Parameters)
				case "resolvedDependencies":
					return r.resources(&b.List, &b.Materials)
				}
				return errUnknown
			})
		case "runDetails":
			return r.object(func(name string) error {
				switch name {
				case "builder":
					return r.id(&b.Builder)
				case "metadata":
					return r.object(func(name string) error {
						switch name {
						case "invocationId":
							return r.text(&b.Invocation)
						case "startedOn":
							return optional(r.time(&b.Started))
						case "finishedOn":
							return optional(r.time(&b.Finished))
						}
						return errUnknown
					})
				}
				return errUnknown
			})
		}
		return errUnknown
	})
	return r.endBuild(b, "buildDefinition.buildType", "runDetails.builder.id", err)
}

func (r *reader) endBuild(b *Build, buildType, builder string, err error) error {
	switch {
	case err != nil:
		return err
	case b.Type == "":
		return r.missing(buildType)
	case b.Builder == "":
		return r.missing(builder)
	}
	r.out.Build = b
	return nil
}

// id reads the member id of an object.
func (r *reader) id(to *string) error {
	return r.member("id", func() error { return r.text(to) })
}

// provenanceV02 reads https://slsa.dev/spec/v0.2/provenance. What version 1
// calls external parameters is in two members.
func (r *reader) provenanceV02() error {
	b := &Build{}
	var source, parameters jsontext.Value
	err := r.object(func(name string) error {
		switch name {
		case "builder":
			return r.id(&b.Builder)
		case "buildType":
			return r.text(&b.Type)
		case "invocation":
			return r.object(func(name string) error {
				switch name {
				case "configSource":
					return r.parameters(b, &source)
				case "parameters":
					return r.parameters(b, &parameters)
				}
				return errUnknown
			})
		case "metadata":
			return r.object(func(name string) error {
				switch name {
				case "buildInvocationId":
					return r.text(&b.Invocation)
				case "buildStartedOn":
					return optional(r.time(&b.Started))
				case "buildFinishedOn":
					return optional(r.time(&b.Finished))
				}
				return errUnknown
			})
		case "materials":
			return r.resources(&b.List, &b.Materials)
		}
		return errUnknown
	})
	both := []byte{'{'}
	for _, part := range []struct {
		name  string
		value jsontext.Value
	}{{"configSource", source}, {"parameters", parameters}} {
		if part.value == nil {
			continue
		}
		if len(both) > 1 {
			both = append(both, ',')
		}
		both = append(append(both, `"`+part.name+`":`...), part.value...)
	}
	if len(both) > 1 {
		b.Parameters = append(both, '}')
	}
	b.limitParameters()
	return r.endBuild(b, "buildType", "builder.id", err)
}

// parameters reads an object that is kept as it is, without insignificant
// space.
func (r *reader) parameters(b *Build, to *jsontext.Value) error {
	ok, err := r.begin('{')
	if !ok {
		return err
	}
	raw, err := r.dec.ReadValue()
	if err != nil {
		return err
	}
	if !raw.IsValid(jsontext.AllowInvalidUTF8(true)) { // the reader allows duplicate names
		r.note(Duplicate)
		return errBad
	}
	v := raw.Clone()
	if err := v.Compact(); err != nil {
		return err
	}
	*to = v
	b.limitParameters()
	return nil
}

func (b *Build) limitParameters() {
	if len(b.Parameters) > MaxParameters {
		b.ParametersExceeded = true
	}
	if b.ParametersExceeded {
		b.Parameters = nil
	}
}

// Values returns the external parameters as Go values, as encoding/json decodes
// them. It returns nil if there are none.
func (b *Build) Values() (map[string]any, error) {
	if b.Parameters == nil {
		return nil, nil
	}
	var v map[string]any
	err := json.Unmarshal(b.Parameters, &v)
	return v, err
}
