package redistest

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dieWithParent makes the kernel kill the server when the test binary dies without running its cleanups (a timeout, a panic).
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// awaitStopped returns once every thread of the process stands still: SIGSTOP is delivered a moment after kill returns.
func awaitStopped(pid int) {
	const patience, pollEvery = time.Second, time.Millisecond
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-poll.C {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil || strings.Contains(string(status), "\nState:\tT") {
			return
		}
	}
}
