package script

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// ErrNotWatched says that an Append has done nothing: the lane's key is not what it was when its line watched it.
var ErrNotWatched = errors.New("script: append: the lane has changed")

// RawLine sends a request of encoded commands in one write, and shows each value of their answers as it comes: how deep it lies in arrays,
// its first byte ('_' for nothing), and the error of the server that it is, if it is one. An error of Pass says that it is not known what
// has run.
type RawLine interface {
	Pass(ctx context.Context, request []byte, answers int, see func(depth int, kind byte, refusal error)) error
}

// mostKept is up to which size a request makes room for the next one.
const mostKept = 2 << 20

// appended is an Append that is made again and again, and what the last one was answered.
type appended struct {
	own   *appended // itself, unless it is a copy
	named string    // the lane that the texts are of
	task  string    // begins the command of each task
	set   string    // goes before the lane's number
	count string    // goes before how many tasks there are
	rest  string

	request []byte
	see     func(depth int, kind byte, refusal error)

	tasks    int
	alone    int   // how many values came in no array
	inside   int   // how many came in that of EXEC
	refused  error // the first of those alone, but for the last
	failed   error // the first of the tasks
	lost     bool
	watching bool
}

// Append stores plain tasks without a script, which takes longer, on a line that watches the lane's key since the last call: a transaction
// happens only while nobody has touched that. An Append whose answer is lost may arrive late, but once Enqueue has stored its
// tasks, which touches the key, it does nothing. It watches for the next one. It tells no entries: a retry could not tell them either.
func (r *Runner) Append(ctx context.Context, line RawLine, lane *Lane) (Stored, error) {
	if r.watch == nil {
		return r.appendTo(ctx, line, lane)
	}
	began := time.Now()
	stored, err := r.appendTo(ctx, line, lane)
	failed := err
	if errors.Is(err, ErrNotWatched) { // the script follows
		failed = nil
	}
	r.watch("append", time.Since(began), failed)
	return stored, err
}

func (r *Runner) appendTo(ctx context.Context, line RawLine, lane *Lane) (Stored, error) {
	a := &lane.appended
	a.prepare(lane)
	if err := line.Pass(ctx, a.request, a.answers(), a.see); err != nil {
		return Stored{}, fmt.Errorf("script: append: %w", err)
	}
	if a.refused != nil {
		return Stored{}, fmt.Errorf("script: append: %w", a.refused)
	}
	if a.inside != a.tasks+2 { // SET, HINCRBY
		return Stored{}, ErrNotWatched
	}
	stored := Stored{Last: lane.First + int64(a.tasks) - 1, Watched: a.watching, Lost: a.lost}
	if a.failed != nil { // the number is set all the same
		return stored, fmt.Errorf("script: append: %w", a.failed)
	}
	return stored, nil
}

// answers is how many commands there are: the tasks, MULTI, SET, HINCRBY, EXEC and WATCH.
func (a *appended) answers() int { return a.tasks + 5 }

// prepare makes the request.
func (a *appended) prepare(lane *Lane) {
	if a.own != a {
		a.own, a.see, a.request = a, a.take, nil
	}
	a.name(lane)
	a.tasks, a.alone, a.inside, a.refused, a.failed, a.lost, a.watching = len(lane.Tasks), 0, 0, nil, nil, false, false
	b := a.request
	if cap(b) > mostKept {
		b = nil
	}
	b = append(b[:0], "*1\r\n$5\r\nmulti\r\n"...)
	for i := range lane.Tasks {
		task := lane.Tasks[i].Task
		b = appendHead(append(b, a.task...), int64(len(task)))
		b = append(append(b, task...), "\r\n"...)
	}
	b = appendInt(append(b, a.set...), lane.First+int64(a.tasks)-1)
	b = appendInt(append(b, a.count...), int64(a.tasks))
	a.request = append(b, a.rest...)
}

// name makes what all requests of a lane share.
func (a *appended) name(lane *Lane) {
	if lane.name(); a.named == lane.named {
		return
	}
	tasks, producer, counts := bulk(lane.keys[0]), bulk(lane.keys[1]), bulk(lane.keys[2])
	a.named = lane.named
	a.task = "*5\r\n" + bulk("xadd") + tasks + bulk("*") + bulk(wire.Field)
	a.set = "*5\r\n" + bulk("set") + producer
	a.count = bulk("xx") + bulk("keepttl") + "*4\r\n" + bulk("hincrby") + counts + bulk("enqueued")
	a.rest = "*1\r\n" + bulk("exec") + "*2\r\n" + bulk("watch") + producer
}

// take notes one value of the answers.
func (a *appended) take(depth int, kind byte, refusal error) {
	if depth > 0 {
		a.inside++
		switch {
		case a.inside <= a.tasks && a.failed == nil:
			a.failed = refusal
		case a.inside == a.tasks+1:
			a.lost = kind == '_'
		}
		return
	}
	a.alone++
	switch {
	case a.alone == a.answers():
		a.watching = kind == '+'
	case a.refused == nil:
		a.refused = refusal
	}
}

// bulk is an argument of a command, as the server reads it.
func bulk(text string) string { return "$" + strconv.Itoa(len(text)) + "\r\n" + text + "\r\n" }

// appendHead adds the head of an argument of n bytes.
func appendHead(b []byte, n int64) []byte {
	return append(strconv.AppendInt(append(b, '$'), n, 10), "\r\n"...)
}

// appendInt adds a number as an argument.
func appendInt(b []byte, n int64) []byte {
	var room [20]byte
	digits := strconv.AppendInt(room[:0], n, 10)
	return append(append(appendHead(b, int64(len(digits))), digits...), "\r\n"...)
}
