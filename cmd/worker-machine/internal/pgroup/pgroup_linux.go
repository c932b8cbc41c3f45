package pgroup

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Own gives the program a process group of its own, and its death when the worker is killed with kill -9.
func Own() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// AwaitExit returns when the program has ended. It is left to be reaped by finish: until then its number stays taken, so the
// group of that number is still ours to kill.
func AwaitExit(child *exec.Cmd) (finish func() error) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, child.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return child.Wait
		}
	}
}

// Kill kills the program and everything it started. The number is checked: kill(-1) and kill(0) would reach strangers.
func Kill(child *exec.Cmd) {
	if pid := child.Process.Pid; pid > 1 {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}
