// Provider runs an OpenID provider with which people sign in to the portal, for
// tests in browsers.
//
//	provider [-listen ADDRESS] [-client ID] [-secret SECRET] [-for TIME] REDIRECT PERSON...
//
// REDIRECT is the redirect URI of the client. A PERSON is SUBJECT:PASSWORD, and
// signs in with the subject as the name. It prints "listening on URL", and
// stops on a signal or after the time.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"muniment.dev/muniment/internal/peers/providerrig"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "provider:", err)
		os.Exit(2)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	client := flag.String("client", "muniment", "ID of the client")
	secret := flag.String("secret", "", "secret of the client; none for a public client")
	limit := flag.Duration("for", 30*time.Minute, "how long to run at most")
	flag.Parse()
	if flag.NArg() < 2 {
		return errors.New("no redirect URI or person: provider [flags] REDIRECT SUBJECT:PASSWORD")
	}
	var people []providerrig.Person
	for _, arg := range flag.Args()[1:] {
		subject, password, ok := strings.Cut(arg, ":")
		if !ok {
			return fmt.Errorf("%s: must be SUBJECT:PASSWORD", arg)
		}
		people = append(people, providerrig.Person{Subject: subject, Username: subject, Password: password})
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	p, err := providerrig.Start(*listen, []providerrig.Client{{ID: *client, Secret: *secret, Redirect: flag.Arg(0)}}, people)
	if err != nil {
		return err
	}
	fmt.Printf("listening on %s\n", p.URL)
	select {
	case <-stop:
	case <-time.After(*limit):
	}
	return p.Close()
}
