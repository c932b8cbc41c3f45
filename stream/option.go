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
	uniqueTTL time.Duration
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
	return errors.Join(o.errs...)
}

// laneTask is the order as the enqueue script takes it.
func (o *order) laneTask() script.LaneTask {
	t, _ := o.appendTask(nil)
	return t
}

// appendTask is laneTask with the task in the room behind b, which it returns with it.
func (o *order) appendTask(b []byte) (script.LaneTask, []byte) {
	t := script.LaneTask{After: max(o.after, 0), Unique: o.task.Unique, UniqueTTL: o.uniqueTTL}
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
