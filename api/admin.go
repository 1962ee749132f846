package api

// An adminService implements AdminService; its methods lie with what they
// administer. The table in access.go lets administrators in only, and
// authorize(ctx, tenant) says who it is.
type adminService struct{ *Server }
