// Sigstore runs a private Sigstore on loopback until it is stopped: a
// certificate authority, a timestamp authority and a transparency log, for
// releases that are made and verified without being published.
//
//	sigstore FOLDER REPOSITORY
//
// It writes trusted-root.json and signing-config.json, the link cosign to the
// cosign that goes with them, job.jwt, the identity token of a CI job of the
// repository, which is valid for an hour, and issuer, the URL of its issuer.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/sigstorerig"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sigstore FOLDER REPOSITORY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "sigstore:", err)
		os.Exit(2)
	}
}

func run(dir, repository string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rig, err := sigstorerig.Run(ctx, dir, dir, sigstorerig.Fulcio(), sigstorerig.TSA(), sigstorerig.Rekor())
	if err != nil {
		return err
	}
	defer rig.Stop()
	claims := rig.Issuer.JobClaims(repository)
	claims["exp"] = time.Now().Add(time.Hour).Unix()
	token, err := rig.Issuer.Sign(claims)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "job.jwt"), []byte(token), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "issuer"), []byte(rig.Issuer.CI+"\n"), 0o600); err != nil {
		return err
	}
	cosign, err := peers.Find("cosign")
	if err != nil {
		return err
	}
	if err := os.Symlink(cosign, filepath.Join(dir, "cosign")); err != nil {
		return err
	}
	fmt.Printf("listening on %s\n", rig.Fulcio)
	<-ctx.Done()
	return nil
}
