package stream

import (
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// tally counts what a session sent and heard, for people who look at it.
type tally struct {
	began    time.Time
	function string // of all its tasks; "" when they are of several, or there are none
	several  bool
	sent     int64 // items of chunks count each
	done     int64
	failed   int64
}

func (t *tally) send(task *Task) {
	t.sent += int64(max(task.Items, 1))
	switch {
	case t.several || t.function == task.Function:
	case t.function == "":
		t.function = task.Function
	default:
		t.function, t.several = "", true
	}
}

// count counts the outcomes that are ready from the nth on. mu is held.
func (s *Session) count(from int) {
	for i := range s.ready[from:] {
		done, failed := ends(&s.ready[from+i])
		s.tally.done, s.tally.failed = s.tally.done+int64(done), s.tally.failed+int64(failed)
	}
}

// ends is of how many tasks an outcome tells, and how many of these failed.
func ends(o *Outcome) (done, failed int) {
	switch {
	case o.Kind == wire.KindFailure:
		return 1, 1
	case o.Kind != wire.KindPack:
		return 1, 0
	case !o.Pack.Mixed():
		return o.Pack.Items, 0
	}
	pack := *o.Pack
	for kind, _, ok := pack.Next(); ok; kind, _, ok = pack.Next() {
		if kind != wire.KindNone {
			done++
		}
		if kind == wire.KindFailure {
			failed++
		}
	}
	return done, failed
}

var hostname = sync.OnceValue(func() string {
	name, _ := os.Hostname() // "" will do
	return name
})

// info is what the session tells of itself.
func (s *Session) info() string {
	s.mu.Lock()
	t := s.tally
	s.mu.Unlock()
	text, _ := json.Marshal(wire.SessionInfo{ // strings and numbers always encode
		Host: hostname(), PID: os.Getpid(), Function: t.function, Began: t.began.UnixMilli(), Sent: t.sent, Done: t.done, Failed: t.failed,
	})
	return string(text)
}
