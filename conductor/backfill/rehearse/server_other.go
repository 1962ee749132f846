//go:build !linux

package rehearse

import (
	"errors"
	"os/exec"
	"syscall"
)

type account struct{}

func findUser(string) (*account, error) {
	return nil, errors.New("clones are made on Linux only: specify the DSN of a clone")
}

func (*account) own(string) error              { return nil }
func (*account) folder(string) (string, error) { return "", errors.ErrUnsupported }

func (*account) bind(*exec.Cmd, syscall.Signal) (release func()) { return func() {} }

func freeSpace(string) (int64, bool) { return 0, false }

type server struct {
	dir, bin string
	who      *account
	ended    chan struct{}
}

func (*server) start() error   { return errors.ErrUnsupported }
func (*server) remove() error  { return nil }
func (*server) output() string { return "" }
