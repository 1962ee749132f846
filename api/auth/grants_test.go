package auth

import "testing"

// Of two callers that revoke a grant, exactly one succeeds, so the failure of
// the other can't restore the grant.
func TestRevokeOnce(t *testing.T) {
	gs := newGrants(nil)
	g := &grant{id: "ci", Identity: Identity{Tenant: &Tenant{Name: "acme"}, hash: tokenHash{1}}}
	gs.byID["acme"] = map[string]*grant{}
	gs.add(g)
	if !gs.revoke(g) || gs.revoke(g) || !gs.find(g.hash).revoked {
		t.Fatal("the grant was not revoked once")
	}
	gs.restore(g)
	if gs.find(g.hash).revoked || !gs.revoke(g) {
		t.Error("a grant whose revocation was not recorded is not in force")
	}
}
