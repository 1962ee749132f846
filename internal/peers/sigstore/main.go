// Sigstore runs a private Sigstore on loopback until it is stopped: a
// certificate authority, a timestamp authority and a transparency log, for
// releases that are made and verified without being published.
//
//	sigstore FOLDER REPOSITORY
//
// It behaves as the public Sigstore does for a CI job of the repository, so
// cosign needs no flags. FOLDER/environment sets the variables of the job, in
// the syntax of a shell, and MIRROR and ROOT, with which cosign initialize
// makes cosign use this Sigstore. trusted-root.json is for verifiers, and
// issuer has the URL of the issuer of the job's identity tokens.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"muniment.dev/muniment/internal/peers/sigstorerig"
	"muniment.dev/muniment/internal/peers/tufrig"
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

func run(dir, project string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rig, err := sigstorerig.Run(ctx, dir, dir, sigstorerig.Fulcio(), sigstorerig.TSA(), sigstorerig.Rekor())
	if err != nil {
		return err
	}
	defer rig.Stop()
	repository, err := publish(rig, filepath.Join(dir, "tuf"))
	if err != nil {
		return err
	}
	defer repository.Stop()
	variables := fmt.Sprintf("export ACTIONS_ID_TOKEN_REQUEST_URL='%s' ACTIONS_ID_TOKEN_REQUEST_TOKEN='%s'\nMIRROR='%s'\nROOT='%s'\n",
		rig.Issuer.RequestURL(project), rig.Issuer.RequestToken, repository.URL, repository.Root())
	for name, content := range map[string]string{"environment": variables, "issuer": rig.Issuer.CI + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	fmt.Printf("listening on %s\n", rig.Fulcio)
	<-ctx.Done()
	return nil
}

// publish makes the TUF repository of a Sigstore, and serves it.
func publish(rig *sigstorerig.Rig, dir string) (*tufrig.Repository, error) {
	targets := map[string][]byte{}
	for name, path := range map[string]string{"trusted_root.json": rig.TrustedRoot, "signing_config.v0.2.json": rig.SigningConfig} {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		targets[name] = content
	}
	repository, err := tufrig.Start(dir)
	if err != nil {
		return nil, err
	}
	if err := repository.Publish(1, targets); err != nil {
		repository.Stop()
		return nil, err
	}
	return repository, nil
}
