package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"muniment.dev/muniment/verifiers/sigstore"
)

// A document is the JSON of a configuration, without its requirements.
type document struct {
	tree map[string]any // values have the types of strictjson.Members

	rekor      string // normal form; "": all logs
	keys       []string
	identities []sigstore.Identity
	roots      []string
	policies   []string
	streamKey  string // "": none
}

const (
	maxPaths      = 64
	maxFiles      = 16 // trusted roots, policies
	maxPathLength = 4096
	maxIdentity   = 2048 // bytes of each part
)

// The members of a configuration, and those of the objects in it.
var (
	configMembers   = []string{"sigstore", "trustedKeys", "identities", "trustedRoot", "trustPolicy", "streamKey", "licenses", "residency", "epsilon"}
	sigstoreMembers = []string{"rekorUrl"}
	identityMembers = []string{"issuer", "subject"}
)

// read performs checks 3 to 5 of docs/spec/verify.md, section 1.
func (d *document) read() error {
	if err := d.unknown(); err != nil {
		return err
	}
	for _, read := range []func() error{d.readSigstore, d.readKeys, d.checkIdentities, d.readRoots, d.readPolicies, d.readStreamKey} {
		if err := read(); err != nil {
			return err
		}
	}
	return d.readIdentities()
}

// unknown performs check 3.
func (d *document) unknown() error {
	if err := unknownIn("", d.tree, configMembers); err != nil {
		return err
	}
	if o, ok := d.tree["sigstore"].(map[string]any); ok {
		if err := unknownIn("sigstore.", o, sigstoreMembers); err != nil {
			return err
		}
	}
	list, _ := d.tree["identities"].([]any)
	for i, v := range list {
		if o, ok := v.(map[string]any); ok {
			if err := unknownIn(fmt.Sprintf("identities[%d].", i), o, identityMembers); err != nil {
				return err
			}
		}
	}
	return nil
}

func unknownIn(path string, o map[string]any, known []string) error {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(known, name) {
			return configFault(CodeConfigurationUnknown, "%s%.60q: unknown member; must be one of %s", path, name, strings.Join(known, ", "))
		}
	}
	return nil
}

func invalid(path, format string, args ...any) error {
	return configFault(CodeConfigurationInvalid, "%s: %w", path, fmt.Errorf(format, args...))
}

func (d *document) readSigstore() error {
	v, ok := d.tree["sigstore"]
	if !ok {
		return nil
	}
	o, ok := v.(map[string]any)
	if !ok {
		return invalid("sigstore", "must be an object")
	}
	url, ok := o["rekorUrl"].(string)
	if !ok {
		return invalid("sigstore.rekorUrl", "must be a URL")
	}
	if d.rekor, ok = sigstore.NormalURL(url); !ok {
		return invalid("sigstore.rekorUrl", "must be a URL such as https://rekor.example.com, without user, query and fragment")
	}
	return nil
}

func (d *document) readKeys() (err error) {
	if v, ok := d.tree["trustedKeys"]; ok {
		d.keys, err = paths("trustedKeys", v, maxPaths)
	}
	return err
}

func (d *document) readRoots() (err error) {
	d.roots, err = d.pathOrPaths("trustedRoot")
	return err
}

func (d *document) readPolicies() (err error) {
	d.policies, err = d.pathOrPaths("trustPolicy")
	return err
}

func (d *document) readStreamKey() (err error) {
	if v, ok := d.tree["streamKey"]; ok {
		d.streamKey, err = pathOf("streamKey", v)
	}
	return err
}

func (d *document) pathOrPaths(name string) ([]string, error) {
	switch v := d.tree[name].(type) {
	case []any:
		return paths(name, v, maxFiles)
	case string:
		one, err := pathOf(name, v)
		return []string{one}, err
	}
	if _, ok := d.tree[name]; ok {
		return nil, invalid(name, "must be a path, or an array of paths")
	}
	return nil, nil
}

func paths(name string, v any, most int) (all []string, err error) {
	list, ok := v.([]any)
	if !ok || len(list) == 0 || len(list) > most {
		return nil, invalid(name, "must be an array of 1 to %d paths", most)
	}
	for i, v := range list {
		one, err := pathOf(fmt.Sprintf("%s[%d]", name, i), v)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func pathOf(name string, v any) (string, error) {
	s, ok := v.(string)
	if !ok || s == "" || len(s) > maxPathLength || strings.ContainsRune(s, 0) {
		return "", invalid(name, "must be a path of 1 to %d bytes without 0x00", maxPathLength)
	}
	return s, nil
}

// checkIdentities performs check 4 for identities.
func (d *document) checkIdentities() error {
	v, ok := d.tree["identities"]
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 || len(list) > maxPaths {
		return invalid("identities", "must be an array of 1 to %d objects with issuer and subject", maxPaths)
	}
	for i, v := range list {
		o, ok := v.(map[string]any)
		if !ok {
			return invalid(fmt.Sprintf("identities[%d]", i), "must be an object with issuer and subject")
		}
		for _, name := range identityMembers {
			part, given := o[name]
			s, ok := part.(string)
			if given && !ok || len(s) > maxIdentity {
				return invalid(fmt.Sprintf("identities[%d].%s", i, name), "must be a string of at most %d bytes", maxIdentity)
			}
		}
	}
	return nil
}

// readIdentities performs check 5.
func (d *document) readIdentities() error {
	list, _ := d.tree["identities"].([]any)
	for i, v := range list {
		o := v.(map[string]any)
		issuer, _ := o["issuer"].(string)
		subject, _ := o["subject"].(string)
		if issuer == "" || subject == "" {
			return configFault(CodeIdentityMissing, "identities[%d]: an identity needs issuer and subject: without them, anybody's signature would be accepted", i)
		}
		d.identities = append(d.identities, sigstore.Identity{Name: subject, Issuer: issuer})
	}
	return nil
}
