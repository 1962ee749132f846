package oidc

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"muniment.dev/muniment/internal/glob"
)

// A Rule matches tokens of an issuer that have all of the claims. A claim is
// named as in the token or, if nested, by a JSON pointer (RFC 6901) such as
// /kubernetes.io/serviceaccount/uid. Values are compared as text. A claim that
// is a list must contain the value. A * in a value matches any characters
// except /, but is not allowed for claims that identify the holder.
type Rule struct {
	Issuer string
	Claims map[string]string
}

// immutable lists, by provider, the claims that an issuer never reassigns to
// another owner. Names of repositories, groups and accounts can be taken over
// after their owner renames or deletes them. A rule that trusts such a name
// then trusts the new owner.
var immutable = map[string][]string{
	"github":     {"repository_id", "repository_owner_id", "enterprise_id"},
	"gitlab":     {"project_id", "namespace_id", "user_id"},
	"kubernetes": {"/kubernetes.io/serviceaccount/uid", "/kubernetes.io/pod/uid"},
}

// providerOf returns the provider of a public service, or "".
func providerOf(issuer string) string {
	switch {
	case issuer == "https://token.actions.githubusercontent.com" || strings.HasPrefix(issuer, "https://token.actions.githubusercontent.com/"):
		return "github"
	case issuer == "https://gitlab.com":
		return "gitlab"
	}
	return ""
}

// Check returns an error if the rule could match tokens of unintended holders,
// and a warning if that cannot be determined. The provider is the issuer's.
func (r *Rule) Check(provider string) (warning string, err error) {
	if len(r.Claims) == 0 {
		return "", errors.New("claims: missing: the rule would match every token of the issuer")
	}
	ids := immutable[provider]
	anchored := false
	for _, name := range slices.Sorted(maps.Keys(r.Claims)) {
		value := r.Claims[name]
		switch {
		case name == "" || value == "":
			return "", fmt.Errorf("claims.%s: the name and the value must not be empty", name)
		case slices.Contains([]string{"iss", "aud", "exp", "nbf", "iat", "jti"}, name):
			return "", fmt.Errorf("claims.%s: does not identify the holder of the token", name)
		case strings.Contains(value, "*") && (slices.Contains(ids, name) || name == "sub"):
			return "", fmt.Errorf("claims.%s: %q contains *: a claim that identifies the holder must be an exact value", name, value)
		}
		anchored = anchored || slices.Contains(ids, name) || len(ids) == 0 && name == "sub"
	}
	if anchored {
		return "", nil
	}
	if len(ids) > 0 {
		return "", fmt.Errorf("claims: none is permanently bound to its owner, and names can be taken over by others: add one of %s", strings.Join(ids, ", "))
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(r.Claims)), func(v string) bool { return !strings.Contains(v, "*") }) {
		return "", errors.New("claims: every value contains *: at least one claim must be an exact value")
	}
	return "no claim of the rule is known to be permanently bound to its owner: if a name is reassigned, its new owner gets access; use sub or an ID", nil
}

// Match reports whether the rule matches the token. If not, it also returns the
// claim that differs.
func (r *Rule) Match(t *Token) (bool, string) {
	if r.Issuer != t.Issuer {
		return false, "iss"
	}
	for _, name := range slices.Sorted(maps.Keys(r.Claims)) {
		if !t.has(name, r.Claims[name]) {
			return false, name
		}
	}
	return true, ""
}

// Matched returns the token's values of the rule's claims.
func (r *Rule) Matched(t *Token) map[string]string {
	out := map[string]string{}
	for name, want := range r.Claims {
		out[name] = want
		if s, ok := text(t.claim(name)); ok {
			out[name] = s
		}
	}
	return out
}

func (t *Token) has(name, want string) bool {
	v := t.claim(name)
	if list, ok := v.([]any); ok {
		return slices.ContainsFunc(list, func(x any) bool { s, ok := text(x); return ok && s == want })
	}
	s, ok := text(v)
	return ok && glob.MatchParts(want, s)
}

func (t *Token) claim(name string) any {
	if v, ok := t.claims[name]; ok || !strings.HasPrefix(name, "/") {
		return v
	}
	var at any = t.claims
	for _, part := range strings.Split(name[1:], "/") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	return at
}

// text returns a scalar claim as text and reports whether it is one.
func text(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case json.Number:
		return x.String(), true
	case bool:
		return fmt.Sprint(x), true
	}
	return "", false
}
