// Command mutants makes inputs for verifiers of receipts, and runs the one in
// Go.
//
// The file format and the other runners are specified in docs/spec/receipt.md,
// section 6. The inputs are the same for the same seed and number: receipts of
// all forms with keys of both families, policies, stream keys and expectations,
// most of them with a fault. Faults are put in before hashing and signing as
// well as after it, so that all steps are reached.
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

// generate writes the inputs 0 to n−1 of a seed.
func generate(w io.Writer, seed uint64, n int) error {
	world, err := newWorld()
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	for i := range n {
		if err := world.input(seed, i).write(b); err != nil {
			return err
		}
	}
	return b.Flush()
}
