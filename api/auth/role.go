package auth

import (
	"fmt"
	"slices"
	"strings"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A Role is a set of capabilities within a tenant. The zero value has none.
type Role = munimentv1.Role

// OperatorRole is the role of operators, who belong to no tenant.
const OperatorRole Role = -1

// ParseRole returns the role with the name, such as "appender".
func ParseRole(name string) (Role, error) {
	if r := Role(munimentv1.Role_value["ROLE_"+strings.ToUpper(name)]); r != 0 && RoleName(r) == name {
		return r, nil
	}
	return 0, fmt.Errorf("unknown role %q: use appender, reader, approver, auditor or admin", name)
}

// RoleName returns the name of a role, such as "appender".
func RoleName(r Role) string { return strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_")) }

// Roles is a set of roles.
type Roles []Role

// Has reports whether the role is in the set.
func (rs Roles) Has(r Role) bool { return slices.Contains(rs, r) }

// String returns the names of the tenants' roles, such as "reader, approver or
// admin".
func (rs Roles) String() string {
	var names []string
	for _, r := range rs {
		if r != OperatorRole {
			names = append(names, RoleName(r))
		}
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " or " + names[n-1]
	}
	return strings.Join(names, "")
}

// check returns an error unless a tenant's caller with the role may make a call
// that requires one of the set.
func (rs Roles) check(role Role) error {
	switch {
	case rs.Has(role):
		return nil
	case len(rs) == 1 && rs.Has(OperatorRole):
		return errNotOperator
	}
	return fmt.Errorf("this call requires role %s; you have role %s", rs, RoleName(role))
}
