package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing/fstest"

	"muniment.dev/muniment/clients/go/verify"
)

// configured is an input of the kind configuration: a configuration, the files
// that it names, and optionally a file to verify with it.
type configured struct {
	ID            int               `json:"id"`
	Kind          string            `json:"kind"`
	Configuration []byte            `json:"configuration"`
	Files         map[string][]byte `json:"files"` // by path
	File          *[]byte           `json:"file,omitempty"`
	As            string            `json:"as,omitempty"` // absent: recognized
	Artifact      *[]byte           `json:"artifact,omitempty"`
	Exported      map[string][]byte `json:"exported,omitempty"`
	Receipt       *[]byte           `json:"receipt,omitempty"`
	Stream        *[]byte           `json:"stream,omitempty"`
}

// configuration makes an input of the kind configuration. Its parts are those
// of an input of another kind.
func (m *maker) configuration() *configured {
	in := &configured{Kind: kindConfiguration, Files: map[string][]byte{}}
	c := map[string]any{}
	switch m.IntN(5) {
	case 0:
		m.ofReceipt(in, c)
	case 1:
		m.ofSigstore(in, c)
	case 2:
		m.ofEvidence(in, c)
	case 3:
		m.ofExport(in, c)
	default: // no file to verify
		m.ofExport(in, c)
		m.ofSigstore(in, c)
		in.File, in.Artifact, in.Exported, in.Receipt, in.Stream = nil, nil, nil, nil, nil
	}
	if in.File != nil && m.one(8) {
		in.As = pick(m, "receipt", "sigstore-bundle", "export", "stream", "evidence-bundle", "x", "Export")
	}
	m.files(in, c)
	if m.one(3) {
		m.document(c, 1+m.IntN(2))
	}
	if m.one(6) {
		m.member(c)
	}
	in.Configuration = encode(c)
	if m.one(8) {
		in.Configuration = m.text(in.Configuration)
	}
	return in
}

// name gives files paths and returns these.
func name(in *configured, prefix string, files [][]byte) []any {
	all := []any{}
	for i, content := range files {
		path := fmt.Sprintf("%s%d", prefix, i)
		in.Files[path] = content
		all = append(all, path)
	}
	return all
}

// policyMembers sets the members of the policies and the stream key.
func (m *maker) policyMembers(in *configured, c map[string]any, policies [][]byte, key *[]byte) {
	if paths := name(in, "policy", policies); len(paths) > 0 {
		c["trustPolicy"] = paths
		if len(paths) == 1 && m.one(2) {
			c["trustPolicy"] = paths[0]
		}
	}
	if key != nil {
		c["streamKey"], in.Files["stream.key"] = "stream.key", *key
	}
}

func (m *maker) keyMembers(in *configured, c map[string]any, keys [][]byte) {
	if paths := name(in, "key", keys); len(paths) > 0 {
		c["trustedKeys"] = paths
	}
}

func (m *maker) ofReceipt(in *configured, c map[string]any) {
	r := m.make()
	in.File = &r.Receipt
	m.policyMembers(in, c, r.Policies, r.StreamKey)
}

func (m *maker) ofEvidence(in *configured, c map[string]any) {
	e := m.evidence()
	in.File = &e.Bundle
	if m.one(2) {
		in.As = "stream"
	}
	m.policyMembers(in, c, e.Policies, e.StreamKey)
}

func (m *maker) ofExport(in *configured, c map[string]any) {
	e := m.export()
	in.File, in.Exported, in.Receipt, in.Stream = &e.Manifest, e.Files, e.Receipt, e.Stream
	m.policyMembers(in, c, e.Policies, e.StreamKey)
	m.keyMembers(in, c, e.Keys)
	requirements := map[string]any{}
	if e.Requirements != nil && json.Unmarshal(*e.Requirements, &requirements) == nil {
		maps.Copy(c, requirements)
	}
	if m.one(4) {
		m.ofRoot(in, c)
	}
}

func (m *maker) ofSigstore(in *configured, c map[string]any) {
	s := m.sigstore()
	in.File, in.Artifact = &s.Bundle, s.Artifact
	m.keyMembers(in, c, s.Keys)
	if paths := name(in, "root", s.Roots); len(paths) > 0 {
		c["trustedRoot"] = paths
		if len(paths) == 1 && m.one(2) {
			c["trustedRoot"] = paths[0]
		}
	}
	identities := []any{}
	for _, id := range s.Identities {
		identities = append(identities, map[string]any{"issuer": id.Issuer, "subject": id.Name})
	}
	if len(identities) > 0 {
		c["identities"] = identities
	}
	if m.one(3) {
		c["sigstore"] = map[string]any{"rekorUrl": m.url()}
	}
}

// ofRoot sets a trusted root and identities.
func (m *maker) ofRoot(in *configured, c map[string]any) {
	c["trustedRoot"], in.Files["root"] = "root", m.root(m.w.sigstore, "local")
	c["identities"] = []any{map[string]any{"issuer": "https://issuer.example", "subject": "ci@acme.example"}}
}

// url makes the URL of a log, of the vectors or of the public-good instance.
func (m *maker) url() string {
	url := pick(m, "https://rekor.example", "https://rekor.example", "https://rekor2.example:8080", "https://rekor.sigstore.dev")
	switch {
	case m.one(3):
		url = pick(m, url+"/", strings.Replace(url, "rekor", "REKOR", 1), url+":443", url+":0443//", url+":80", strings.Replace(url, "https", "http", 1), url+":00443", url+":", url+":65536", url+":000443", url+"/./", url+"/..", url+"//x", "https://[::1]", "https://[::1]:3000/", url+strings.Repeat("/", 2048-len(url)), url+strings.Repeat("/", 2049-len(url)))
	case m.one(3):
		url = pick(m, "", " "+url, url+"?", url+"#", url+"\n", url+"/%2e", url+"/\u00e9", "HTTPS"+url[5:], "ftp"+url[5:], strings.Replace(url, "//", "//a@", 1), "//rekor.example", "https:///", "https://", "https://.", "https://[", "https://[]", "https://[::1%25eth0]", string(m.bytes([]byte(url))))
	}
	return strings.ToValidUTF8(url, "?")
}

// files changes the files of a configuration, or removes one.
func (m *maker) files(in *configured, c map[string]any) {
	if m.one(6) {
		if keys, ok := c["trustedKeys"].([]any); ok {
			in.Files[keys[m.IntN(len(keys))].(string)] = m.publicKey()
		}
	}
	paths := slices.Sorted(maps.Keys(in.Files))
	if len(paths) == 0 {
		return
	}
	path := paths[m.IntN(len(paths))]
	switch {
	case m.one(12):
		delete(in.Files, path)
	case m.one(12):
		in.Files[path] = m.bytes(in.Files[path])
	case m.one(20):
		in.Files[path] = in.Files[paths[m.IntN(len(paths))]]
	case m.one(30):
		in.Files[path] = append(slices.Clone(in.Files[path]), bytes.Repeat([]byte(pick(m, "\n", " ", "#", "x")), pick(m, 1, 64<<10, 1<<20))...)
	}
}

// member sets a member of a configuration to a value of its kind, which need
// not be valid.
func (m *maker) member(c map[string]any) {
	long := func(n int) string { return strings.Repeat("a", n) }
	many := func(n int, v any) []any { return slices.Repeat([]any{v}, n) }
	path := pick[any](m, "", "key0", "x", "a\x00", long(4096), long(4097), strings.Repeat("\u00e9", 2048), strings.Repeat("\u00e9", 2049), "../key0", 1, nil)
	id := pick[any](m, map[string]any{}, map[string]any{"issuer": "", "subject": "x"}, map[string]any{"issuer": "x", "subject": long(2048)}, map[string]any{"issuer": strings.Repeat("\u00e9", 1025), "subject": "x"}, map[string]any{"issuer": "x", "subject": "x", "name": "x"}, map[string]any{"issuer": "x"}, map[string]any{"issuer": nil, "subject": "x"}, "x", map[string]any{"__proto__": "x", "issuer": "x", "subject": "x"})
	switch pick(m, "sigstore", "trustedKeys", "identities", "trustedRoot", "trustPolicy", "streamKey", "licenses", "residency", "epsilon") {
	case "sigstore":
		c["sigstore"] = pick[any](m, map[string]any{"rekorUrl": m.url()}, map[string]any{}, map[string]any{"rekorUrl": nil}, map[string]any{"rekorUrl": []any{m.url()}}, m.url(), nil, []any{}, map[string]any{"rekorUrl": m.url(), "x": 1})
	case "trustedKeys":
		c["trustedKeys"] = pick[any](m, []any{path}, path, []any{}, many(64, "key0"), many(65, "key0"), nil, []any{[]any{"key0"}}, map[string]any{"0": "key0"})
	case "identities":
		c["identities"] = pick[any](m, []any{id}, id, []any{}, many(64, id), many(65, id), nil)
	case "trustedRoot", "trustPolicy":
		c[pick(m, "trustedRoot", "trustPolicy")] = pick[any](m, []any{path}, path, []any{}, many(16, "root0"), many(17, "root0"), nil, []any{nil}, map[string]any{})
	case "streamKey":
		c["streamKey"] = pick[any](m, path, []any{path}, nil, map[string]any{})
	case "licenses":
		c["licenses"] = pick[any](m, []any{"MIT"}, []any{}, []any{"MIT OR MIT"}, nil, many(10_000, "MIT"), []any{"MIT", "MIT"}, "MIT", []any{"__proto__"}, []any{"constructor"})
	case "residency":
		c["residency"] = pick[any](m, map[string]any{}, nil, map[string]any{"storage-allowed": []any{}}, map[string]any{"storage-allowed": many(512, map[string]any{"country": "DE"})}, map[string]any{"storage-allowed": many(513, map[string]any{"country": "DE"})}, map[string]any{"storage-allowed": []any{map[string]any{"country": pick(m, "__proto__", "constructor", "toString", "DE ", "\u0130T")}}})
	case "epsilon":
		number := pick[any](m, "1", "0", "-0", "+1", "0x10", "1e-400", "1e400", "NaN", "Infinity", "01", "1.", ".1", "", "0.000000000000000000000000000001", "0.0000000000000000000000000000001", "999999999999999999", "1000000000000000000", 1, nil, "1/2", "\u0661")
		e := map[string]any{"epsilon": "1", "delta": "0.1", "budget": pick[any](m, "b", "", "-", "b.", long(128), long(129), "b\n", nil, 1)}
		e[pick(m, "epsilon", "delta")] = number
		if m.one(2) {
			delete(e, "budget")
		}
		c["epsilon"] = e
	}
}

func (in *configured) verdict() string {
	config, err := verify.ParseConfig(in.Configuration, func(path string) (io.ReadCloser, error) {
		content, ok := in.Files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	var failed *verify.ConfigError
	if errors.As(err, &failed) {
		return judged(failed.Code, false)
	}
	if err != nil {
		panic(err) // impossible: every error is a *ConfigError
	}
	if in.File == nil {
		return verifiedAs(map[string]any{"keys": strings.Join(config.KeyIDs(), " "), "policies": strings.Join(config.PolicyNames(), " "), "streamKey": config.HasStreamKey()})
	}
	r, err := verify.New(config).Verify(context.Background(), verify.Bytes("file", *in.File), verify.Kind(in.As), in.inputs())
	switch {
	case err != nil:
		panic(err) // impossible: the context has no end
	case r.Verdict == verify.Verified:
		return verifiedAs(map[string]any{"report": unmarshal(r.JSON()), "text": r.Text()})
	default:
		return judged(r.Code, r.Verdict == verify.NotVerified)
	}
}

func (in *configured) inputs() (all verify.Inputs) {
	if in.Artifact != nil {
		all.Bundle.Artifact = bytes.NewReader(*in.Artifact)
	}
	if in.Exported != nil {
		files := fstest.MapFS{}
		for name, content := range in.Exported {
			files[name] = &fstest.MapFile{Data: content, Mode: 0o644}
		}
		all.Export.Files = files
	}
	if in.Receipt != nil {
		all.Export.Receipt = verify.Bytes("receipt", *in.Receipt)
	}
	if in.Stream != nil {
		all.Export.Stream = verify.Bytes("stream", *in.Stream)
	}
	return all
}
