package group

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// The states of a flight. Whoever moves it to flightEnded decides its outcome.
const (
	flightWaiting int32 = iota // in the buffer
	flightRunning              // with its handler
	flightEnded                // its outcome is decided, and on its way to Redis
)

// flight is one task in this worker's hands, from its delivery until Redis confirmed what became of it.
type flight struct {
	context taskContext
	feed    *feed
	entry   string
	read    uint64 // the number of the read of new entries that delivered it, 0 when it came another way
	place   int    // among what that read delivered
	task    wire.Task
	fence   string // of the lease under which it came
	crashes int
	claimed bool // it was another worker's, or lost
	arrived time.Time
	started time.Time
	took    time.Duration // by the handler; 0 until it has returned
	ran     time.Duration // as who decided the outcome has it; 0 for one that was not run
	chunk   *chunk        // nil for a task that has an entry of its own
	item    int           // of chunk; noItem for the chunk itself

	state     atomic.Int32
	abandoned atomic.Bool // its handler did not return in time; the slot is given to another one
}

// move changes the state, and tells whether it was the caller who did.
func (f *flight) move(from, to int32) bool { return f.state.CompareAndSwap(from, to) }

// interrupt cancels the context of the handler, or of those that run items of the chunk.
func (f *flight) interrupt(cause error) {
	if f.chunk != nil {
		f.chunk.interrupt(cause)
		return
	}
	f.context.end(cause)
}

// maxAttempts is after which attempt a failure is final.
func (f *flight) maxAttempts() int {
	if f.task.MaxAttempts > 0 {
		return f.task.MaxAttempts
	}
	return f.feed.worker.cfg.MaxAttempts
}

// timeout is that of this attempt, 0 for none.
func (f *flight) timeout() time.Duration {
	if f.task.Timeout > 0 {
		return f.task.Timeout
	}
	return f.feed.worker.cfg.Timeout
}

// waited is how long the entry had been there at a time of this host, by the clock of Redis: it was made when the task was stored, or came
// due. It is 0 for an ID that somebody chose.
func (f *flight) waited(until time.Time) time.Duration {
	return waitedSince(entryTime(f.entry), until, time.Duration(f.feed.ahead.Load()))
}

// waitedSince is the time from ms of Redis to a time of this host that Redis is ahead of.
func waitedSince(ms int64, until time.Time, ahead time.Duration) time.Duration {
	waited := time.Duration(until.UnixNano()-ms*int64(time.Millisecond)) + ahead
	if waited < 0 || waited > maxWaited {
		return 0
	}
	return waited
}

// maxWaited is longer than anything waits.
const maxWaited = 365 * 24 * time.Hour

func (f *flight) metadata() Metadata {
	return Metadata{
		ID: f.task.ID, Function: f.task.Function, Queue: f.feed.queue.Name,
		Attempt: f.task.Attempt, MaxAttempts: f.maxAttempts(), Timeout: f.timeout(),
		LastError: f.task.LastError, Headers: f.task.Headers, Entry: f.entry,
	}
}

// flights holds what a feed has in hand. An entry stays until its commit, retry, burial or release is confirmed, so that
// reading the consumer's history never runs an entry twice.
type flights struct {
	mu      sync.Mutex
	byEntry map[string]*flight
	added   uint64 // how many were ever added

	// While history is read, entries that are confirmed meanwhile are noted: Redis may have rendered them as pending before.
	watching int
	gone     map[string]bool
}

func newFlights() flights { return flights{byEntry: map[string]*flight{}, gone: map[string]bool{}} }

// add takes in what is new, and tells which were.
func (s *flights) add(candidates []*flight) []*flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := candidates[:0]
	for _, f := range candidates {
		if s.byEntry[f.entry] != nil || s.gone[f.entry] {
			continue
		}
		s.byEntry[f.entry] = f
		fresh = append(fresh, f)
	}
	s.added += uint64(len(fresh))
	return fresh
}

func (s *flights) remove(done ...*flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range done {
		if s.byEntry[f.entry] == f {
			delete(s.byEntry, f.entry)
		}
		if s.watching > 0 {
			s.gone[f.entry] = true
		}
	}
}

// watch starts to note what is removed; the function it returns ends that.
func (s *flights) watch() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watching++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.watching--; s.watching == 0 {
			clear(s.gone)
		}
	}
}

// has tells whether a flight is still in hand.
func (s *flights) has(f *flight) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byEntry[f.entry] == f
}

// named are those of a task: more than one only after a loss of data.
func (s *flights) named(id string) (found []*flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.byEntry {
		if f.task.ID == id {
			found = append(found, f)
		}
	}
	return found
}

// census is how many there are, and how many were ever added.
func (s *flights) census() (now int, added uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byEntry), s.added
}

// list is all there are.
func (s *flights) list() []*flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*flight, 0, len(s.byEntry))
	for _, f := range s.byEntry {
		all = append(all, f)
	}
	return all
}

func entriesOf(all []*flight) []string {
	entries := make([]string, len(all))
	for i, f := range all {
		entries[i] = f.entry
	}
	return entries
}

// suspect tells whether the task must run alone: two workers died while they had it.
func (f *flight) suspect() bool { return f.crashes >= suspectCrashes }

const (
	suspectCrashes = 2 // run alone from here on
	fatalCrashes   = 3 // a dead letter, if the last one happened while it ran alone
)

// crashLoop tells whether an entry that was taken over is not to run any more.
func crashLoop(e *script.Entry) bool { return e.Crashes >= fatalCrashes && e.Alone }
