package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocimutate "github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"

	"muniment.dev/muniment/internal/peers/gitearig"
)

// pushimage TAG VARIABLE [from=TAG] [squash=TAG] [annotation=DIGEST]
// [name=TEXT] [label=DIGEST]: pushes an image with a new layer and sets the
// variable to its digest. from is its base. squash replaces its layers, and
// those of the base, by one. annotation and label name a base.
func pushImageScript(ts *testscript.TestScript, neg bool, args []string) {
	tag, err := name.NewTag(args[0])
	ts.Check(err)
	base := v1.Image(empty.Image)
	annotations, labels, squash := map[string]string{}, map[string]string{}, false
	for _, arg := range args[2:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "from", "squash":
			ref, err := name.ParseReference(value)
			ts.Check(err)
			base, err = remote.Image(ref)
			ts.Check(err)
			squash = key == "squash"
		case "annotation":
			annotations["org.opencontainers.image.base.digest"] = value
		case "name":
			annotations["org.opencontainers.image.base.name"] = value
		case "label":
			labels["org.opencontainers.image.base.digest"] = value
		default:
			ts.Fatalf("unknown argument %s", arg)
		}
	}
	if squash {
		base = empty.Image
	}
	layer, err := random.Layer(256, types.OCILayer)
	ts.Check(err)
	image, err := ocimutate.AppendLayers(ocimutate.MediaType(base, types.OCIManifestSchema1), layer)
	ts.Check(err)
	config, err := image.ConfigFile()
	ts.Check(err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	if config.Config.Labels == nil {
		config.Config.Labels = map[string]string{}
	}
	for key, value := range labels {
		config.Config.Labels[key] = value
	}
	image, err = ocimutate.ConfigFile(image, config)
	ts.Check(err)
	image = ocimutate.Annotations(image, annotations).(v1.Image)
	ts.Check(remote.Write(tag, image))
	digest, err := image.Digest()
	ts.Check(err)
	ts.Setenv(args[1], digest.String())
}

// A scriptT lets a script take the place of a test.
type scriptT struct{ *testscript.TestScript }

func (scriptT) Helper()             {}
func (t scriptT) Fatal(args ...any) { t.Fatalf("%s", fmt.Sprint(args...)) }
func (t scriptT) Cleanup(f func())  { t.Defer(f) }
func (t scriptT) TempDir() string {
	dir := t.MkAbs("gitea")
	t.Check(os.MkdirAll(dir, 0o700))
	return dir
}

// gitea REPOSITORY FILE: starts the real Gitea with a private repository that
// contains the file. It sets GITEA and GITEA_TOKEN, and writes the token to
// forge.token.
func giteaScript(ts *testscript.TestScript, neg bool, args []string) {
	s := gitearig.Start(scriptT{ts})
	s.Repository(args[0], args[1], []byte(ts.ReadFile(args[1])))
	ts.Setenv("GITEA", s.URL)
	ts.Setenv("GITEAHOST", strings.TrimPrefix(s.URL, "http://"))
	ts.Setenv("GITEA_TOKEN", s.Token)
	ts.Check(os.WriteFile(ts.MkAbs("forge.token"), []byte(s.Token+"\n"), 0o600))
}
