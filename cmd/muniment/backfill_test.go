package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/postgresrig"
)

// buildConductor builds the program beside this one, into a folder that is
// kept, and returns the folder.
var buildConductor = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs("../../.cache/plain")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "conductor"), "../conductor").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the conductor: %v\n%s", err, out)
	}
	return dir, nil
})

// database: starts the real PostgreSQL, and sets STORE to the URL of a store in
// it.
func databaseScript(ts *testscript.TestScript, neg bool, args []string) {
	r, err := postgresrig.Start(context.Background(), postgresrig.Config{Settings: map[string]string{"fsync": "on"}})
	ts.Check(err)
	ts.Defer(r.Stop)
	ts.Setenv("STORE", r.URL(postgresrig.User)+"&single_node=true")
	ports, err := peers.FreePorts(3)
	ts.Check(err)
	for i, port := range ports {
		ts.Setenv(fmt.Sprintf("PORT%d", i+1), port)
	}
}

// postgres FILE: starts the real PostgreSQL with an empty database, in which it
// executes the file, and puts the program conductor on the path. It sets DSN
// and METRICS, a free address.
func postgresScript(ts *testscript.TestScript, neg bool, args []string) {
	dir, err := buildConductor()
	ts.Check(err)
	ts.Setenv("PATH", dir+string(filepath.ListSeparator)+ts.Getenv("PATH"))
	r, err := postgresrig.Start(context.Background(), postgresrig.Config{})
	ts.Check(err)
	ts.Defer(r.Stop)
	ts.Check(r.Exec(context.Background(), postgresrig.User, ts.ReadFile(args[0])))
	ports, err := peers.FreePorts(1)
	ts.Check(err)
	ts.Setenv("DSN", r.URL(postgresrig.User))
	ts.Setenv("METRICS", "127.0.0.1:"+ports[0])
}
