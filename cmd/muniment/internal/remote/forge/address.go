package forge

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// An Address is that of a repository on a forge.
type Address struct {
	Base        string // URL of the forge
	Owner, Repo string
}

// Clone returns the URL from which git reads the repository over HTTP.
func (a *Address) Clone() string {
	return a.Base + "/" + url.PathEscape(a.Owner) + "/" + url.PathEscape(a.Repo) + ".git"
}

// Kind returns the kind of a forge that is known by its address, or "".
func (a *Address) Kind() string {
	if a.Base == "https://github.com" {
		return "github"
	}
	return ""
}

// scp matches addresses such as git@git.example.com:owner/repo.git.
var scp = regexp.MustCompile(`^(?:[^@/:]+@)?([A-Za-z0-9.-]+):([^/].*)$`)

// ParseAddress returns the address of a repository from the URL of a git
// remote. If base is not empty, it is the URL of the forge, which otherwise
// follows from the remote's host. A user and password in the URL are left out.
func ParseAddress(remote, base string) (*Address, error) {
	host, path := "", ""
	if u, err := url.Parse(remote); err == nil && u.Scheme != "" && u.Host != "" {
		switch path = u.Path; u.Scheme {
		case "http", "https":
			host = u.Scheme + "://" + u.Host
		case "ssh", "git+ssh":
			host = "https://" + u.Hostname()
		}
	} else if m := scp.FindStringSubmatch(remote); m != nil && !strings.Contains(remote, "://") {
		host, path = "https://"+m[1], m[2]
	}
	if host == "" {
		return nil, fmt.Errorf("the git remote is not a repository on a forge: its URL must begin with https:// or ssh://")
	}
	full := host + "/" + strings.Trim(strings.TrimSuffix(strings.TrimRight(path, "/"), ".git"), "/")
	parts := strings.Split(full, "/")
	if len(parts) < 5 || parts[len(parts)-1] == "" || parts[len(parts)-2] == "" {
		return nil, fmt.Errorf("the URL of the git remote has no owner and repository")
	}
	a := &Address{Base: strings.Join(parts[:len(parts)-2], "/"), Owner: parts[len(parts)-2], Repo: parts[len(parts)-1]}
	if base != "" {
		a.Base = strings.TrimRight(base, "/")
	}
	return a, nil
}
