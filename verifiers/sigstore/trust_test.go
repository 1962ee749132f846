package sigstore

import (
	"errors"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"testing"
)

// The codes and their steps are those of the specification.
func TestSteps(t *testing.T) {
	text, err := os.ReadFile("../../docs/spec/sigstore-verification.md")
	if err != nil {
		t.Fatal(err)
	}
	specified := map[Code]int{}
	for _, row := range regexp.MustCompile("(?m)^\\| (\\d+) \\| (`.*`) \\|$").FindAllStringSubmatch(string(text), -1) {
		step, _ := strconv.Atoi(row[1])
		for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[2], -1) {
			specified[Code(code[1])] = step
		}
	}
	if !reflect.DeepEqual(Steps, specified) {
		t.Errorf("the steps are %v, but the specification has %v", Steps, specified)
	}
}

func TestTrustInputs(t *testing.T) {
	key, someone := realFile(t, "examples/publish_key.pub"), Identity{Name: "n", Issuer: "i"}
	root := PublicGoodJSON()
	for name, c := range map[string]struct {
		roots      [][]byte
		identities []Identity
		keys       [][]byte
		want       Code
	}{
		"nothing":           {[][]byte{root}, nil, nil, "policy-missing"},
		"both":              {[][]byte{root}, []Identity{someone}, [][]byte{key}, "policy-missing"},
		"no issuer":         {[][]byte{root}, []Identity{someone, {Name: "n"}}, nil, "identity-missing"},
		"no name":           {[][]byte{root}, []Identity{{Issuer: "i"}}, nil, "identity-missing"},
		"no key":            {[][]byte{root}, nil, [][]byte{[]byte("x")}, "key-malformed"},
		"no root":           {nil, []Identity{someone}, nil, "trusted-root-malformed"},
		"an empty root":     {[][]byte{[]byte("{}")}, []Identity{someone}, nil, "trusted-root-malformed"},
		"something unknown": {[][]byte{append([]byte(`{"x":1,`), root[1:]...)}, []Identity{someone}, nil, "trusted-root-malformed"},
	} {
		_, err := NewTrust(c.roots, c.identities, c.keys)
		var r *Refusal
		if !errors.As(err, &r) || r.Code != c.want || !r.NotChecked() || errors.Is(err, ErrNotVerified) {
			t.Errorf("%s: got %v, want %s and no verdict", name, err, c.want)
		}
	}
	if _, err := NewTrust([][]byte{root}, nil, [][]byte{key}); err != nil {
		t.Error(err)
	}
	trust, err := NewTrust([][]byte{root}, []Identity{{Name: "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main", Issuer: "https://token.actions.githubusercontent.com"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := trust.Verify(realFile(t, "examples/bundle-provenance.json"), nil)
	if err != nil || got.Statement == nil || got.Signer.Issuer == "" {
		t.Errorf("a bundle of the public-good instance: %+v, %v", got, err)
	}
}
