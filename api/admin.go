package api

// An adminService implements AdminService; its methods lie with what they
// administer. The table in access.go admits administrators only, and
// auth.CallerOf(ctx, tenant) returns the caller.
type adminService struct{ *Server }
