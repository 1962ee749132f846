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

// A Rule matches the tokens of an issuer that have all of the claims. A claim
// is named as in the token, or, if it is nested, by a JSON pointer (RFC 6901)
// such as /kubernetes.io/serviceaccount/uid. Values are compared as text, and a
// claim that is a list must contain the value. A * in a value matches any
// characters but /. Claims that identify the holder must be equal.
type Rule struct {
	Issuer string
	Claims map[string]string
}

// immutable lists, by provider, the claims that an issuer never gives to
// another owner. Names of repositories, groups and accounts can be taken over
// after their owner renames or deletes them, and a rule that trusts a name then
// trusts its new owner.
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
// and a warning if that can't be determined. The provider is the issuer's.
func (r *Rule) Check(provider string) (warning string, err error) {
	if len(r.Claims) == 0 {
		return "", errors.New("claims: missing; the rule would take every token of the issuer")
	}
	ids := immutable[provider]
	anchored := false
	for _, name := range slices.Sorted(maps.Keys(r.Claims)) {
		value := r.Claims[name]
		switch {
		case name == "" || value == "":
			return "", fmt.Errorf("claims.%s: a name or value is empty", name)
		case slices.Contains([]string{"iss", "aud", "exp", "nbf", "iat", "jti"}, name):
			return "", fmt.Errorf("claims.%s: it does not identify the holder of the token", name)
		case strings.Contains(value, "*") && (slices.Contains(ids, name) || name == "sub"):
			return "", fmt.Errorf("claims.%s: %q has a *; this claim identifies, and must be equal", name, value)
		}
		anchored = anchored || slices.Contains(ids, name) || len(ids) == 0 && name == "sub"
	}
	if anchored {
		return "", nil
	}
	if len(ids) > 0 {
		return "", fmt.Errorf("claims: none of them stays with its owner: names can be taken over by others. Add one of %s", strings.Join(ids, ", "))
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(r.Claims)), func(v string) bool { return !strings.Contains(v, "*") }) {
		return "", errors.New("claims: every value has a *; at least one claim must be equal")
	}
	return "no claim of the rule is known to stay with its owner; if one of them is a name that can be given to somebody else, they get in. Use sub, or an ID", nil
}

// Match reports whether the rule matches the token, and returns the claim that
// differs if it does not.
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

// Matched returns the values that the token has for the claims of the rule.
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

// text returns a scalar claim as text.
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
