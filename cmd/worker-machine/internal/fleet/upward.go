package fleet

import (
	"fmt"
	"os"
	"strconv"
	"sync"
)

// Upward is a process's way to tell its supervisor about itself. A nil one tells nobody.
type Upward struct {
	mu   sync.Mutex
	file *os.File
}

// OpenUpward finds the descriptor that a supervisor gave to this process; nil without one. Programs that this process starts do not
// inherit it.
func OpenUpward(getenv func(string) string) *Upward {
	fd, err := strconv.Atoi(getenv(fdVariable))
	if err != nil || fd < reportFD {
		return nil
	}
	if !closeOnExec(fd) {
		return nil // there is no such descriptor: the variable came from elsewhere
	}
	return &Upward{file: os.NewFile(uintptr(fd), "supervisor")}
}

// Ready tells that this process is able to work.
func (u *Upward) Ready() { u.say("ready\n") }

// Tasks tells how many tasks were done since the start.
func (u *Upward) Tasks(n int64) { u.say(fmt.Sprintf("tasks %d\n", n)) }

func (u *Upward) say(line string) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	_, _ = u.file.WriteString(line) // a supervisor that is gone takes us along
}

// MaxTasks is the limit that a supervisor gave to this process; 0 for none.
func MaxTasks(getenv func(string) string) int {
	n, err := strconv.Atoi(getenv(TasksVariable))
	if err != nil || n < 0 {
		return 0
	}
	return n
}
