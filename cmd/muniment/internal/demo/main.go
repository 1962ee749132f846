// Demo makes a company that has used a log for two weeks, for the demo, the
// portal's pictures, and tests.
//
//	demo seed --data FOLDER [--tenant NAME] [--issuer URL]
//	demo token --data FOLDER PERSON
//
// Seed records the two weeks through the API of the log in the folder, which
// no server may have open. The time of the run determines everything except
// for keys, salts and tokens. Token prints an identity token, with which a
// person of the company signs in to the portal once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	data := flags.String("data", "", "data folder, made by 'muniment init'")
	tenant := flags.String("tenant", "initech", "tenant of the log that is the company")
	issuer := flags.String("issuer", "https://id.initech.example", "URL of the company's identity provider")
	if len(args) == 0 {
		return errors.New("no command: use seed or token")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if *data == "" {
		return errors.New("no data folder: use --data")
	}
	switch {
	case args[0] == "seed" && flags.NArg() == 0:
		n, err := seed(context.Background(), *data, *tenant, *issuer, time.Now())
		if err == nil {
			fmt.Printf("recorded two weeks of %s: %d entries\n", *tenant, n)
		}
		return err
	case args[0] == "token" && flags.NArg() == 1:
		d, err := openDirectory(filepath.Clean(*data))
		if err != nil {
			return err
		}
		token, err := d.identityToken(flags.Arg(0))
		if err == nil {
			fmt.Println(token)
		}
		return err
	}
	return errors.New("usage: demo seed --data FOLDER | demo token --data FOLDER PERSON")
}
