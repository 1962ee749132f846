package main

import (
	"context"
	"net/url"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"muniment.dev/muniment/internal/peers/bucketrig"
	"muniment.dev/muniment/internal/peers/link"
)

// bucket: starts a real object storage. It sets BUCKET, the URL of a part of
// its bucket, TILES, that of a part that everybody can read, and PUBLIC, where
// they read it. Servers reach both through the link BUCKET, which can be cut.
func bucketScript(ts *testscript.TestScript, neg bool, args []string) {
	r, err := bucketrig.Start(context.Background())
	ts.Check(err)
	ts.Defer(r.Stop)
	ts.Check(r.Publish(context.Background(), "public"))
	l, err := link.New(r.Address)
	ts.Check(err)
	ts.Defer(l.Close)
	links.Store(linkKey{ts, "BUCKET"}, l)
	const tiles = "public/ledger"
	ts.Setenv("BUCKET", r.URLAt(l.Address(), "payloads"))
	ts.Setenv("TILES", r.URLAt(l.Address(), tiles))
	ts.Setenv("PUBLIC", strings.TrimSuffix(r.Public(tiles), "/"))
	ts.Setenv("OBJECTS", r.Folder)
	ts.Setenv("NOBUCKET", strings.Replace(r.URL(tiles), "//"+bucketrig.Bucket, "//another", 1))
	ts.Setenv("STRANGER", strings.Replace(r.URL(tiles), url.QueryEscape(r.Credentials), url.QueryEscape(ts.MkAbs("stranger")), 1))
}
