//go:build !unix

package pgroup

import (
	"os/exec"
	"syscall"
)

// Own does nothing where there are no process groups: a timeout kills the program alone.
func Own() *syscall.SysProcAttr { return nil }

// AwaitExit returns when the program has ended.
func AwaitExit(child *exec.Cmd) (finish func() error) {
	err := child.Wait()
	return func() error { return err }
}

// Kill kills the program.
func Kill(child *exec.Cmd) { _ = child.Process.Kill() }
