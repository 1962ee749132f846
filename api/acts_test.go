package api

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Every RPC has its row, and each administrative RPC that changes something is
// an act of the audit log.
func TestTablesAreComplete(t *testing.T) {
	declared := map[string]bool{}
	protoregistry.GlobalFiles.RangeFilesByPackage("muniment.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				path := fmt.Sprintf("/%s/%s", s.FullName(), m.Name())
				declared[path] = true
				if len(access[apiRoutes[path]]) == 0 {
					t.Errorf("%s: nobody may call it; apiRoutes or access has no row", path)
				}
				readOnly := m.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
				if s.Name() == "AdminService" && acts[path] == readOnly {
					t.Errorf("%s: read-only: %t, an act of the audit log: %t", path, readOnly, acts[path])
				}
			}
		}
		return true
	})
	for path := range apiRoutes {
		if strings.HasPrefix(path, "/muniment.v1.") && !declared[path] {
			t.Errorf("%s has a row, and does not exist", path)
		}
	}
	for path := range acts {
		if !declared[path] {
			t.Errorf("%s is an act, and does not exist", path)
		}
	}
}

// The audit log shows no field of a request that contains a secret or a
// document.
func TestAuditShowsNoBytes(t *testing.T) {
	for _, secret := range []protoreflect.Name{"token", "identity_token", "policy", "payload", "document", "chunk", "submission"} {
		if shown[secret] {
			t.Errorf("%s is shown", secret)
		}
	}
}

// Wakes returns how many watchers were ever woken.
func (s *Server) Wakes() uint64 { return s.watches.Wakes() }
