package portal

import (
	"net/url"
	"path"
	"strings"
)

// maxTarget limits the path to return to after a sign-in, in bytes.
const maxTarget = 2000

// target returns the path to return to after a sign-in: a path of the page,
// with its query and fragment. Everything else becomes the page's start,
// because an untrusted link must not lead from this server to another.
func target(wanted string) string {
	if len(wanted) > maxTarget || !strings.HasPrefix(wanted, Path) {
		return Path
	}
	for i := range len(wanted) {
		if c := wanted[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '"' || c == '<' || c == '>' {
			return Path
		}
	}
	u, err := url.Parse(wanted)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || strings.Contains(u.Path, "\\") {
		return Path
	}
	// Browsers resolve dots, also encoded ones, before they open a path.
	if clean := path.Clean(u.Path); clean != strings.TrimSuffix(u.Path, "/") || strings.Contains(u.Path, "//") {
		return Path
	}
	for _, own := range []string{SignInPath, CallbackPath, SessionPath} {
		if u.Path == own {
			return Path
		}
	}
	return u.String()
}
