package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A location is where a log is, and how to connect to it.
type location struct {
	config *pgxpool.Config
	schema string // quoted
	name   string // for messages, without secrets

	// single is set if the database has no standby, so that the loss of its
	// disk is the loss of the log.
	single bool
	// mark is the folder whose publish mark belongs to the log, or empty. The
	// mark outlives the database: it is on the disk of the server.
	mark string
	// server names the server among those of the log.
	server string
	// objects is the URL of the bucket for large payloads, or empty.
	objects string
}

// For adds to the URL of a store what is particular to a server: the folder of
// its publish mark, and its name.
func For(storeURL, folder, server string) string {
	u, err := url.Parse(storeURL)
	if err != nil {
		return storeURL // Open reports what is wrong
	}
	q := u.Query()
	q.Set("mark", folder)
	q.Set("server", server)
	u.RawQuery = q.Encode()
	return u.String()
}

// WithObjects adds to the URL of a store that of the bucket for large payloads.
func WithObjects(storeURL, bucket string) string {
	u, err := url.Parse(storeURL)
	if err != nil {
		return storeURL // Open reports what is wrong
	}
	q := u.Query()
	q.Set("objects", bucket)
	u.RawQuery = q.Encode()
	return u.String()
}

var identifier = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// parseLocation reads what follows "postgres:" in a store's URL. That is a
// connection URI of libpq, with these parameters of our own:
//
//	schema=NAME        the schema of the log; muniment by default
//	copy=true          the schema of a copy that is not in place yet
//	single_node=true   no standby is required
//	mark=FOLDER        the publish mark is beside this folder
//	server=NAME        the name of this server among those of the log
//	objects=URL        the bucket for large payloads, as ledger/objects reads it
func parseLocation(text string) (*location, error) {
	u, err := url.Parse("postgres:" + text)
	if err != nil || u.Host == "" && u.Path == "" {
		// the error of url.Parse contains the URL, and with it the password
		return nil, errors.New("the store's URL must be postgres://USER@HOST/DATABASE")
	}
	l := &location{name: "postgres://" + u.Host + u.Path}
	q := u.Query()
	take := func(name string) string {
		v := q.Get(name)
		q.Del(name)
		return v
	}
	schema := take("schema")
	if schema == "" {
		schema = "muniment"
	}
	if !identifier.MatchString(schema) {
		return nil, fmt.Errorf("%s: the schema must consist of lowercase letters, digits and underscores", l.name)
	}
	if take("copy") == "true" {
		schema += stageSuffix
	}
	l.schema = pgx.Identifier{schema}.Sanitize()
	switch v := take("single_node"); v {
	case "", "false":
	case "true":
		l.single = true
	default:
		return nil, fmt.Errorf("%s: single_node must be true or false", l.name)
	}
	l.mark, l.server, l.objects = take("mark"), take("server"), take("objects")
	u.RawQuery = q.Encode()
	if l.config, err = pgxpool.ParseConfig(u.String()); err != nil {
		// err contains the URL
		return nil, fmt.Errorf("%s: the parameters of the connection are not valid", l.name)
	}
	l.connections(q)
	return l, nil
}

// warned is where a connection keeps the warning that it has received.
const warned = "muniment.warned"

// connections sets what each connection needs.
func (l *location) connections(given url.Values) {
	c := l.config.ConnConfig
	// Prepared statements belong to a session, and a pooler gives another one
	// to each transaction. This mode has none, but asks once for the types of
	// each statement: without them, bytes are sent as text, twice as long.
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	c.RuntimeParams["application_name"] = "muniment"
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	if given.Get("pool_max_conns") == "" {
		l.config.MaxConns = 16
	}
	// A COMMIT that was not acknowledged by the standby succeeds with a
	// warning.
	c.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			conn.CustomData()[warned] = n.Message
		}
	}
	if len(c.Fallbacks) > 0 { // several hosts: writes need the primary
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
}

// pool connects to the database.
func (l *location) pool(ctx context.Context) (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(ctx, l.config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.name, err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("%s: connect: %w", l.name, err)
	}
	return pool, nil
}

// sql puts the schema before each name of a table, which is written as $NAME.
func (l *location) sql(text string) string {
	return tableName.ReplaceAllString(text, strings.ReplaceAll(l.schema, "$", "$$")+".$1")
}

var tableName = regexp.MustCompile(`\$([a-z_]+)`)
