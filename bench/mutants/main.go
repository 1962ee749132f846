// Command mutants generates inputs for verifiers, and runs those in Go.
//
// The file format and the other runners are specified in docs/spec/receipt.md,
// section 6. A seed and a number determine an input: a receipt of any form, an
// export with its files, receipt and stream, an evidence bundle, or a Sigstore
// bundle, each with keys, policies, requirements and expectations; a
// configuration with such a file; or a file of the caller. Most inputs
// have a fault. Faults are inserted before hashing and signing as well as
// after, so that all steps are reached. Sigstore bundles are made from the
// vectors, and cannot be signed again.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	seed := flag.Uint64("seed", 1, "seed of the generator")
	n := flag.Int("n", 2000, "number of inputs")
	out := flag.String("out", "", "file to write the inputs to")
	verify := flag.String("verify", "", "file with inputs to verify; prints one line for each")
	flag.Parse()
	if err := run(*seed, *n, *out, *verify); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	}
}

func run(seed uint64, n int, out, verify string) error {
	switch {
	case verify != "" && out == "":
		f, err := os.Open(verify)
		if err != nil {
			return err
		}
		defer f.Close()
		return verifyAll(f, os.Stdout)
	case out != "" && verify == "":
		f, err := os.Create(out)
		if err != nil {
			return err
		}
		return errors.Join(generate(f, seed, n), f.Close())
	}
	return errors.New("specify either -out FILE or -verify FILE")
}

// generate writes inputs 0 to n−1 of a seed.
func generate(w io.Writer, seed uint64, n int) error {
	world, err := newWorld()
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	for i := range n {
		if err := write(b, world.mutant(seed, i)); err != nil {
			return err
		}
	}
	return b.Flush()
}
