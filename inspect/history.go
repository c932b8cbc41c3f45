package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/wire"
)

// take begins the history of the task.
func (f *finder) take(task Task, state State) {
	task.Queue, task.State = f.queue, state
	f.Task = task
	f.Events = []Event{{At: enqueuedAt(f.id), What: "enqueued", Detail: "by the clock of its client"}}
	f.note(f.told()...)
	if !f.trace.Cancelled.IsZero() {
		f.note(Event{At: f.trace.Cancelled, What: "cancelled", Detail: "its workers were told"})
	}
}

func (f *finder) note(events ...Event) { f.Events = append(f.Events, events...) }

// told is what the kept outcome says of the way there.
func (f *finder) told() (events []Event) {
	for _, told := range slices.Backward(f.trace.Told) {
		o, err := wire.DecodeOutcome(f.id, told.Text)
		if err != nil {
			continue
		}
		at := timeOf(told.Entry)
		switch {
		case o.Kind == wire.KindMoved && o.Entry == wire.MovedDue:
			events = append(events, Event{At: at, What: "delayed", Detail: "until its next attempt"})
		case o.Kind == wire.KindMoved:
			events = append(events, Event{At: at, What: "waiting", Detail: "as entry " + o.Entry})
		case o.Kind == wire.KindResult:
			events = append(events, Event{At: at, What: "done", Detail: strconv.Itoa(len(o.Payload)) + " bytes"})
		case o.Failure.Reason == wire.ReasonCancelled:
			events = append(events, Event{At: at, What: "cancelled", Detail: o.Failure.Message})
		default:
			events = append(events, Event{At: at, What: "failed", Detail: failureText(&o.Failure)})
		}
	}
	return events
}

func failureText(failure *wire.Failure) string {
	return fmt.Sprintf("attempt %d, %s: %s", failure.Attempt, failure.Reason, failure.Message)
}

// attempts notes the last attempt that failed, of which the task itself tells.
func (f *finder) attempts() {
	if f.Attempt > 1 && len(f.trace.Told) == 0 {
		f.note(Event{What: "failed", Detail: fmt.Sprintf("attempt %d: %s", f.Attempt-1, f.LastError)})
	}
	if f.Crashes > 0 {
		f.note(Event{What: "crashed", Detail: strconv.FormatInt(f.Crashes, 10) + " workers died while they had it"})
	}
}

func (f *finder) takeDelayed() {
	task, err := wire.DecodeBody(f.trace.Body)
	delayed := fromWire(&task)
	if err != nil {
		delayed = Task{ID: f.id, Enqueued: enqueuedAt(f.id), Reason: wire.ReasonMalformed, LastError: err.Error(), Raw: wire.Raw([]string{f.trace.Body}), Size: len(f.trace.Body)}
	}
	delayed.Due = dueTime(f.trace.Due)
	f.take(delayed, Delayed)
	f.attempts()
	f.note(Event{At: delayed.Due, What: "delayed", Detail: "until then"})
}

func (f *finder) takeOutcome(o wire.Outcome) {
	at := timeOf(f.trace.Told[0].Entry)
	task := Task{ID: f.id, Enqueued: enqueuedAt(f.id), Since: at}
	state := Done
	if o.Kind == wire.KindResult {
		task.Result = o.Payload
	} else {
		state = Failed
		if o.Failure.Reason == wire.ReasonCancelled {
			state = Cancelled
		}
		task.Function, task.Attempt, task.Reason, task.LastError = o.Failure.Function, o.Failure.Attempt, o.Failure.Reason, o.Failure.Message
	}
	f.take(task, state)
}

// takeEntry reads the task at an entry. It reports false when there is none.
func (f *finder) takeEntry(ctx context.Context, entry string) (bool, error) {
	pipe := f.of.store.Client().Pipeline()
	found := pipe.XRangeN(ctx, f.keys.Tasks(), entry, entry, 1)
	rows := pipe.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: f.keys.Tasks(), Group: f.of.store.Group(), Start: entry, End: entry, Count: 1})
	crashes := pipe.HGet(ctx, f.keys.Crashes(), entry)
	settled := pipe.HGet(ctx, f.keys.Chunks(), entry)
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, err := range []error{found.Err(), rows.Err(), crashes.Err(), settled.Err()} {
		if err != nil && !errors.Is(err, redis.Nil) && !conn.IsNoGroup(err) {
			return false, f.of.explain(ctx, err, f.queue)
		}
	}
	if len(found.Val()) == 0 {
		return false, f.vanished()
	}
	raw, err := wire.Decode(fieldsOf(found.Val()[0]))
	if err != nil || raw.ID != f.id && raw.Items == 0 {
		return false, nil //nolint:nilerr // it looked like the task, or a chunk with it, and is none: the search has failed
	}
	task, ended, ok := f.itemOf(&raw, settled.Val())
	if !ok {
		return false, nil
	}
	task.Entry, task.Since = entry, timeOf(entry)
	task.Crashes, _ = crashes.Int64() // none where there is no such field
	state := Waiting
	if len(rows.Val()) == 1 {
		state = f.readPending(&task, rows.Val()[0])
	}
	if ended {
		state = Done
	}
	f.take(task, state)
	f.attempts()
	f.noteEntry(&raw, ended)
	return true, nil
}

// vanished has the search begun anew, unless that was done often enough: then it goes on elsewhere.
func (f *finder) vanished() error {
	if f.again {
		return nil
	}
	return errVanished
}

// readPending takes what the group says of an entry.
func (f *finder) readPending(task *Task, row redis.XPendingExt) State {
	task.Since, task.Deliveries = f.trace.Now.Add(-row.Idle), row.RetryCount
	if row.Consumer == wire.ReleasedConsumer {
		return Waiting
	}
	task.Worker = row.Consumer
	return Running
}

func (f *finder) noteEntry(raw *wire.Task, ended bool) {
	where := "as entry " + f.Entry
	if raw.ID != f.id {
		where += ", in chunk " + raw.ID
	}
	if raw.Promoted {
		where += ", when it was due"
	}
	f.note(Event{At: timeOf(f.Entry), What: "waiting", Detail: where})
	if f.Worker != "" {
		f.note(Event{At: f.Since, What: "delivered", Worker: f.Worker, Detail: "delivery " + strconv.FormatInt(f.Deliveries, 10)})
	} else if f.Deliveries > 0 {
		f.note(Event{At: f.Since, What: "waiting", Detail: "handed back by a worker that left"})
	}
	if ended {
		f.note(Event{What: "done", Detail: "its chunk goes on; whether it failed is known to its caller"})
	}
}

// itemOf is the task itself, or the item of a chunk with that ID. ended says that the item is settled while the chunk runs on.
func (f *finder) itemOf(raw *wire.Task, settled string) (task Task, ended, ok bool) {
	if raw.ID == f.id {
		return fromWire(raw), false, true
	}
	_, item, _ := wire.ItemOf(f.id)
	payloads, err := raw.SplitItems()
	if err != nil || item >= len(payloads) {
		return Task{}, false, false
	}
	single := raw.Item(item, payloads[item])
	done, err := wire.ParseItemSet(settled, raw.Items)
	return fromWire(&single), err == nil && done.Has(item), true
}

// takeLetter reads the task in a dead letter.
func (f *finder) takeLetter(ctx context.Context, id string) (bool, error) {
	found, err := f.of.store.Client().XRangeN(ctx, f.keys.Dead(), id, id, 1).Result()
	if err != nil {
		return false, f.of.explain(ctx, err, f.queue)
	}
	if len(found) == 0 {
		return false, f.vanished()
	}
	fields := fieldsOf(found[0])
	raw, err := wire.Decode(fields)
	if err != nil || raw.ID != f.id && raw.Items == 0 {
		return false, nil //nolint:nilerr // see takeEntry
	}
	task, _, ok := f.itemOf(&raw, "")
	if !ok {
		return false, nil
	}
	task.readLetter(fields)
	task.Letter, task.Since = id, timeOf(id)
	f.take(task, Dead)
	f.attempts()
	f.note(Event{At: task.Since, What: "buried", Worker: task.Worker, Detail: fmt.Sprintf("in attempt %d, %s: %s", task.Attempt, task.Reason, task.LastError)})
	return true, nil
}

// fieldsOf are names and values of an entry.
func fieldsOf(message redis.XMessage) []string {
	fields := make([]string, 0, 2*len(message.Values))
	for name, value := range message.Values {
		text, _ := value.(string)
		fields = append(fields, name, text)
	}
	return fields
}
