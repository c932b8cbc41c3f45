//go:build unix && !linux

package pgroup

import (
	"os/exec"
	"syscall"
)

// Own gives the program a process group of its own.
func Own() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// AwaitExit returns when the program has ended. Here that reaps it as well: its number is free from then on, unless it left
// something behind in its group.
func AwaitExit(child *exec.Cmd) (finish func() error) {
	err := child.Wait()
	return func() error { return err }
}

// Kill kills the program and everything it started. The number is checked: kill(-1) and kill(0) would reach strangers.
func Kill(child *exec.Cmd) {
	if pid := child.Process.Pid; pid > 1 {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}
