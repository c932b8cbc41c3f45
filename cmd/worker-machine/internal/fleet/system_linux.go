package fleet

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rssOf is how much memory of a process is in RAM.
func rssOf(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm: %q", pid, text)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// adoption makes this process the parent of what its processes leave behind, as PID 1 of a container is of everything: it reaps
// them when they end, and kills them at the end.
type adoption struct {
	ends    chan os.Signal
	stopped chan struct{}
	launch  *launcher
}

func (l *launcher) adopt() *adoption {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		l.cfg.Printer.Tell(Event{Time: time.Now(), Kind: "adopt", Text: "processes that are left behind are not taken over: " + err.Error()})
	}
	a := &adoption{ends: make(chan os.Signal, 1), stopped: make(chan struct{}), launch: l}
	signal.Notify(a.ends, syscall.SIGCHLD)
	go func() {
		defer close(a.stopped)
		for range a.ends {
			for !a.reap() {
			}
		}
	}()
	return a
}

const soon = 5 * time.Millisecond

// reap takes the exit codes of strays that have ended. It is not done while one of our own waits to be reaped by who watches it: the
// kernel would show that one again and again.
func (a *adoption) reap() (done bool) {
	for {
		a.launch.mu.Lock()
		pid := zombie()
		own := a.launch.own[pid]
		if pid > 0 && !own {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
		a.launch.mu.Unlock()
		if pid <= 0 {
			return true
		}
		if own {
			pause := time.NewTimer(soon)
			<-pause.C
			return false
		}
	}
}

// siginfo is what waitid fills in, as far as it is needed; the kernel aligns what follows the three numbers like a pointer.
type siginfo struct {
	_   [3]int32
	_   [unsafe.Sizeof(uintptr(0))/4 - 1]int32
	pid int32
	_   [128]byte
}

// zombie is a child that has ended and was not reaped, 0 for none.
func zombie() int {
	var info siginfo
	// The library's type has the right size and does not show the fields.
	err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil) //nolint:gosec // see above
	if err != nil {
		return 0
	}
	return int(info.pid)
}

// end kills the strays and stops to reap.
func (a *adoption) end() {
	if a == nil {
		return
	}
	const rounds = 200
	for range rounds {
		left := children()
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		a.reap()
		if len(left) == 0 {
			break
		}
		pause := time.NewTimer(soon)
		<-pause.C
	}
	signal.Stop(a.ends)
	close(a.ends)
	<-a.stopped
}

// children are the numbers of the child processes of this one.
func children() (pids []int) {
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, file := range files {
		text, _ := os.ReadFile(file) //nolint:gosec // of the kernel; a thread may be gone
		for _, field := range bytes.Fields(text) {
			if pid, err := strconv.Atoi(string(field)); err == nil && pid > 1 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
