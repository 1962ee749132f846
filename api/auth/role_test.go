package auth

import (
	"errors"
	"testing"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

func TestRoles(t *testing.T) {
	const reader, admin = munimentv1.Role_ROLE_READER, munimentv1.Role_ROLE_ADMIN
	if err := (Roles{OperatorRole}).check(admin); !errors.Is(err, errNotOperator) {
		t.Errorf("an operator's call by an administrator: %v", err)
	}
	if err := (Roles{reader, admin, OperatorRole}).check(munimentv1.Role_ROLE_APPENDER); err == nil || err.Error() != "this call requires role reader or admin; you have role appender" {
		t.Errorf("a reader's call by an appender: %v", err)
	}
	if err := (Roles{}).check(admin); err == nil {
		t.Error("the empty set admits an administrator")
	}
	if Roles(nil).Has(0) || (Roles{reader}).Has(0) {
		t.Error("callers without credentials have a role")
	}
}
