package rehearse

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A target is one server. Its configuration names no other host.
type target struct {
	config  *pgx.ConnConfig
	address string // IP address; empty for a socket
}

// reach connects, and returns the server that the connection has reached. A
// connection string can list several hosts, and a name can have several
// addresses. PostgreSQL's programs would select another one than the driver.
func reach(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, target, error) {
	dialed := config.Copy()
	names := map[string][]string{} // hosts by address
	lookup := dialed.LookupFunc
	dialed.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		found, err := lookup(ctx, host)
		for _, address := range found {
			names[address] = append(names[address], host)
		}
		return found, err
	}
	conn, err := pgx.ConnectConfig(ctx, dialed)
	if err != nil {
		return nil, target{}, err
	}
	t, err := reached(config, conn.PgConn().Conn().RemoteAddr(), names)
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, target{}, err
	}
	return conn, t, nil
}

// reached returns the target at the remote address of a connection.
func reached(config *pgx.ConnConfig, remote net.Addr, names map[string][]string) (target, error) {
	hosts, port, address := []string(nil), "", ""
	var err error
	if remote.Network() == "unix" {
		// The name of a socket ends with the port.
		hosts, port = []string{filepath.Dir(remote.String())}, filepath.Ext(remote.String())[1:]
	} else if address, port, err = net.SplitHostPort(remote.String()); err != nil {
		return target{}, fmt.Errorf("address %s of the server: %w", remote, err)
	} else {
		hosts = names[address]
	}
	// The same host occurs twice with sslmode=prefer: with TLS and without.
	all := append([]*pgconn.FallbackConfig{{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}}, config.Fallbacks...)
	all = slices.DeleteFunc(all, func(c *pgconn.FallbackConfig) bool {
		host := c.Host
		if address == "" {
			host = filepath.Clean(host)
		}
		return !slices.Contains(hosts, host) || strconv.Itoa(int(c.Port)) != port
	})
	if len(all) == 0 {
		return target{}, fmt.Errorf("the address %s of the server is not that of a host in the connection string", remote)
	}
	only := config.Copy()
	only.Host, only.Port, only.TLSConfig, only.Fallbacks = all[0].Host, all[0].Port, all[0].TLSConfig, all[1:]
	if address != "" {
		only.LookupFunc = func(context.Context, string) ([]string, error) { return []string{address}, nil }
	}
	return target{only, address}, nil
}

// environment returns the variables that connect PostgreSQL's programs. No
// password appears among their arguments.
func (t target) environment(tls []string) []string {
	c := t.config
	env := []string{"PGHOST=" + c.Host, fmt.Sprintf("PGPORT=%d", c.Port), "PGUSER=" + c.User, "PGPASSWORD=" + c.Password,
		"PGDATABASE=" + c.Database, "PGAPPNAME=muniment-rehearsal", "PGOPTIONS="}
	if t.address != "" {
		env = append(env, "PGHOSTADDR="+t.address)
	}
	return append(env, tls...)
}
