package stream

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// Task is a task as it lies in a queue.
type Task = wire.Task

// Outcome is what a task ended with.
type Outcome = wire.Outcome

// Option changes one enqueue, call or map.
type Option func(*order)

// order is a task to be stored, with all that its options say.
type order struct {
	task      Task
	after     time.Duration
	at        time.Time
	once      string        // hash of an idempotency key
	uniqueTTL time.Duration // of the uniqueness or the idempotency key
	keep      time.Duration
	replicas  int
	errs      []error
}

// After makes the task due so long from now, by the clock of Redis; it never runs earlier. Zero or less is now.
func After(d time.Duration) Option {
	return func(o *order) { o.after = d }
}

// At makes the task due at a time, by the clock of Redis; it never runs earlier. A time that has passed is now.
func At(t time.Time) Option {
	return func(o *order) { o.at = t }
}

// Unique lets at most one task of a queue with this key be stored until it is done, or until ttl is over. A second enqueue answers
// the ID of the first and [ErrDuplicate].
func Unique(key string, ttl time.Duration) Option {
	return func(o *order) {
		if key == "" || ttl < time.Millisecond {
			o.errs = append(o.errs, fmt.Errorf("Unique(%q, %v): give it a key, and a time of at least 1ms", key, ttl))
			return
		}
		sum := sha256.Sum256([]byte(key))
		o.task.Unique, o.uniqueTTL = hex.EncodeToString(sum[:16]), ttl
	}
}

// Idempotent lets at most one task of a queue be stored with this key within ttl, also when that task is done long since. A second
// enqueue answers the ID of the first and [ErrDuplicate]: with [Keep] on both, its outcome can be had by that ID. It does not go
// together with [Unique], whose keys are others.
func Idempotent(key string, ttl time.Duration) Option {
	return func(o *order) {
		if key == "" || ttl < time.Millisecond {
			o.errs = append(o.errs, fmt.Errorf("Idempotent(%q, %v): give it a key, and a time of at least 1ms", key, ttl))
			return
		}
		sum := sha256.Sum256([]byte("idempotent\n" + key))
		o.once, o.uniqueTTL = hex.EncodeToString(sum[:16]), ttl
	}
}

// Keep keeps the outcome of the task in Redis until ttl after it was stored, or after it was due, for [Client.Outcome] and [Client.Await].
// Retries take place within that time, or their outcome is lost. It does not fit a call or a map, whose outcomes come to their caller.
func Keep(ttl time.Duration) Option {
	return func(o *order) {
		if ttl < time.Millisecond || ttl > longestKeep {
			o.errs = append(o.errs, fmt.Errorf("Keep(%v): use 1ms to %v", ttl, longestKeep))
			return
		}
		o.keep, o.task.Reply = ttl, o.task.ID
	}
}

// longestKeep bounds what is forgotten in Redis by mistake.
const longestKeep = 366 * 24 * time.Hour

// IDs adds the ID of each task that is made to a list, in the order of the inputs: of [Func.EnqueueAll] the first n are stored.
func IDs(list *[]string) Option {
	return func(o *order) { *list = append(*list, o.task.ID) }
}

// Header adds a value that the handler finds in the task's metadata. Names follow the rule of queue names.
func Header(name, value string) Option {
	return func(o *order) {
		if err := wire.CheckName("header", name); err != nil {
			o.errs = append(o.errs, err)
			return
		}
		if o.task.Headers == nil {
			o.task.Headers = make(map[string]string)
		}
		o.task.Headers[name] = value
	}
}

// Replicas waits until n replicas have the task, for two seconds at most (less where the Redis client's read timeout is below three); then the error is [ErrNotReplicated], and the task is stored all the same.
func Replicas(n int) Option {
	return func(o *order) {
		if n < 0 {
			o.errs = append(o.errs, fmt.Errorf("Replicas(%d): use 0 or more", n))
		}
		o.replicas = n
	}
}

// MaxAttempts is how often the task is tried before it becomes a dead letter; 0 leaves it to the function, then to the worker.
func MaxAttempts(n int) Option {
	return func(o *order) {
		if n < 0 {
			o.errs = append(o.errs, fmt.Errorf("MaxAttempts(%d): use 1 or more", n))
		}
		o.task.MaxAttempts = n
	}
}

// Timeout is how long one attempt may run; 0 leaves it to the function, then to the worker.
func Timeout(d time.Duration) Option {
	return func(o *order) {
		if d < 0 || d > 0 && d < time.Millisecond {
			o.errs = append(o.errs, fmt.Errorf("Timeout(%v): use 1ms or more", d))
		}
		o.task.Timeout = d
	}
}

// apply runs the options and reports all that is wrong with them.
func (o *order) apply(options []Option) error {
	for _, option := range options {
		option(o)
	}
	if o.once != "" && o.task.Unique != "" {
		o.errs = append(o.errs, errors.New("use one of Unique and Idempotent"))
	}
	return errors.Join(o.errs...)
}

// laneTask is the order as the enqueue script takes it.
func (o *order) laneTask() script.LaneTask {
	t, _ := o.appendTask(nil)
	return t
}

// appendTask is laneTask with the task in the room behind b, which it returns with it.
func (o *order) appendTask(b []byte) (script.LaneTask, []byte) {
	t := script.LaneTask{After: max(o.after, 0), Unique: orDefault(o.task.Unique, o.once), UniqueTTL: o.uniqueTTL, Keep: o.keep}
	if !o.at.IsZero() {
		// A millisecond that has begun is rounded up, so that the task is never early.
		t.At = max(o.at.Add(time.Millisecond-time.Nanosecond).UnixMilli(), 1)
	}
	task := &o.task
	if t.Delayed() {
		later := o.task
		later.Promoted = true // it will be when it is in the stream
		task = &later
	}
	if b == nil {
		t.Task = task.Encode()
		return t, nil
	}
	from := len(b)
	b = task.Append(b)
	t.Task = b[from:len(b):len(b)]
	return t, b
}

// size is about how many bytes the order takes in a script call.
func (o *order) size() int { return len(o.task.Payload) + 160 }
