//go:build !unix

package execute

import (
	"os/exec"
	"syscall"
)

// ownGroup does nothing where there are no process groups: a timeout kills the program alone.
func ownGroup() *syscall.SysProcAttr { return nil }

// awaitExit returns when the program has ended.
func awaitExit(child *exec.Cmd) (finish func() error) {
	err := child.Wait()
	return func() error { return err }
}

// killGroup kills the program.
func killGroup(child *exec.Cmd) { _ = child.Process.Kill() }
