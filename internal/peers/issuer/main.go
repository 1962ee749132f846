// Issuer is the identity provider of the demo. It writes an identity token for
// each person, and serves the keys that verify the tokens until it is stopped.
//
//	issuer AUDIENCE FOLDER PERSON...
//
// The token of a person is FOLDER/PERSON.jwt. The ledger accepts each token
// once, so a person who signs in twice is named twice, and the second token is
// FOLDER/PERSON-2.jwt.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"muniment.dev/muniment/api/oidc/oidctest"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: issuer AUDIENCE FOLDER PERSON...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "issuer:", err)
		os.Exit(2)
	}
}

func run(audience, dir string, people []string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	i := oidctest.Start()
	defer i.Close()
	times := map[string]int{}
	for _, person := range people {
		name := person
		if times[person]++; times[person] > 1 {
			name = fmt.Sprintf("%s-%d", person, times[person])
		}
		token := i.Token(map[string]any{"sub": person, "aud": audience})
		if err := os.WriteFile(filepath.Join(dir, name+".jwt"), []byte(token+"\n"), 0o600); err != nil {
			return err
		}
	}
	fmt.Printf("listening on %s\n", i.URL)
	<-stop
	return nil
}
