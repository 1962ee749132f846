// The command release makes the parts of a release that need more than a shell:
// archives and images of which every byte follows from what is in them, and the
// provenance. build.sh and release.sh call it.
package main

import (
	"os"

	"github.com/alecthomas/kong"
)

// commands is the command line.
type commands struct {
	Archive    archiveCommand    `cmd:"" help:"Write files to a .tar.gz or .zip archive."`
	Image      imageCommand      `cmd:"" help:"Write an image for several platforms, as a tar archive of an OCI image layout."`
	Statement  statementCommand  `cmd:"" help:"Print a statement with any predicate about files."`
	Provenance provenanceCommand `cmd:"" help:"Print the SLSA provenance of files and of the image."`
}

func main() {
	var c commands
	k := kong.Parse(&c, kong.Name("release"), kong.UsageOnError())
	if err := k.Run(); err != nil {
		_, _ = os.Stderr.WriteString("release: " + err.Error() + "\n")
		os.Exit(1)
	}
}
