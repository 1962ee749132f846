package auth

import (
	"slices"
	"strings"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Approvers returns the identities of the persons who may decide about
// exceptions by the rules of the tenant that name one person.
func (t *Tenant) Approvers() (all []string) {
	for i := range t.Rules {
		r := &t.Rules[i]
		if id := r.person(); id != "" && MayDecide(r.Role) && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}

// DisplayNames returns the names that the rules of the tenant set for persons,
// by their identities. The first rule with a name applies.
func (t *Tenant) DisplayNames() map[string]string {
	names := map[string]string{}
	for i := range t.Rules {
		r := &t.Rules[i]
		if id := r.person(); id != "" && r.DisplayName != "" && names[id] == "" {
			names[id] = r.DisplayName
		}
	}
	return names
}

// MayDecide reports whether a role allows decisions about exceptions.
func MayDecide(r Role) bool {
	return r == munimentv1.Role_ROLE_APPROVER || r == munimentv1.Role_ROLE_ADMIN
}

// person returns the identity of the only person that the rule matches, or "".
func (r *IdentityRule) person() string {
	subject := r.Claims["sub"]
	if subject == "" || strings.Contains(subject, "*") {
		return ""
	}
	return oidcIdentity(r.Issuer, subject)
}
