package postgresrig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// A server is one run of the program postgres.
type server struct {
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{} // closed after Wait has returned
}

// launch starts the program, whose output is appended to a log file.
func launch(program, data, log string) (*server, error) {
	who, err := owner()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	s := &server{cmd: exec.Command(program, "-D", data), log: f, ended: make(chan struct{})}
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = data, f, f
	s.cmd.SysProcAttr = endWithParent(who)
	// On SIGQUIT, the server ends its children, which SIGKILL would leave
	// behind.
	s.cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	go func() { _ = s.cmd.Wait(); close(s.ended) }()
	return s, nil
}

// endWithParent returns the attributes of a process that runs as a user, or as
// that of this process, and is killed when this process ends.
func endWithParent(who *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: who, Pdeathsig: syscall.SIGKILL}
}

// quit ends the server and its children, and waits for that.
func (s *server) quit() {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT) // an error means that it has ended
	s.wait()
}

// kill kills the server and its children. They are stopped first, so that the
// server cannot start another child.
func (s *server) kill() error {
	pid := s.cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop postgres: %w", err)
	}
	for !stopped(pid) {
		runtime.Gosched()
	}
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	_ = syscall.Kill(pid, syscall.SIGKILL)
	var children []int
	for _, word := range strings.Fields(string(list)) {
		child, atoi := strconv.Atoi(word)
		if atoi == nil {
			_ = syscall.Kill(child, syscall.SIGKILL) // an error means that it has ended
			children = append(children, child)
		}
	}
	s.wait()
	// A server does not start while a child of the old one has its memory.
	for _, child := range children {
		for in(child, "ZX") == alive {
			runtime.Gosched()
		}
	}
	return err
}

// stopped reports whether SIGSTOP has stopped a process, or it has ended.
func stopped(pid int) bool { return in(pid, "TtZX") != alive }

// alive is the result of in for a process in another state.
const alive = 0

// in returns the state of a process if it is one of the given states, 'X' for a
// process that does not exist, and otherwise alive.
func in(pid int, states string) byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	if err != nil || len(rest) == 0 {
		return 'X'
	}
	if strings.IndexByte(states, rest[0]) >= 0 {
		return rest[0]
	}
	return alive
}

func (s *server) wait() {
	<-s.ended
	s.log.Close()
}

// output returns the server's output so far.
func (s *server) output() []byte {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return []byte(err.Error())
	}
	return text
}
