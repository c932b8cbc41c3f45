package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// History is what Redis still knows of one task.
type History struct {
	Task
	Events []Event `json:"events"` // oldest first
	Looked Count   `json:"looked"` // entries that were searched; not exact where there were more than one call may look at
}

// Event is a step in the life of a task.
type Event struct {
	At     time.Time `json:"at,omitzero"` // left out where it is not known
	What   string    `json:"what"`        // enqueued, delayed, waiting, delivered, failed, crashed, buried, done, cancelled
	Worker string    `json:"worker,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

const (
	queuesTraced   = 100 // by a search in all queues
	queuesSearched = 5   // of these, beyond where an ID is enough
)

// Task finds a task by its ID, an item of a chunk too. With "" for the queue it looks in all queues. It is ErrNotFound when the task is
// nowhere, or done and its result not kept; the History then says how much was searched.
//
// A task that is delayed, or whose outcome is kept, is found at once. Another one is searched where it should be by the time in its ID,
// among the oldest and newest entries, and among dead letters likewise: in a queue of a million tasks one that was retried, say, and
// waits again may be missed. Looked is not exact then. Of all queues 100 are looked at, 5 of them as thoroughly.
func (i *Inspector) Task(ctx context.Context, queue, id string) (History, error) {
	history, err := i.find(ctx, queue, id)
	switch {
	case errors.Is(err, ErrNotFound) && !history.Looked.Exact:
		err = fmt.Errorf("inspect: find task %s: %w among the %d entries that were searched, and there are more", clip(id), err, history.Looked.N)
	case err != nil:
		err = fmt.Errorf("inspect: find task %s: %w", clip(id), err)
	}
	return history, err
}

func (i *Inspector) find(ctx context.Context, queue, id string) (History, error) {
	if err := wire.CheckID("task", id); err != nil {
		return History{}, err
	}
	queues, err := []string{queue}, error(nil)
	if queue == "" {
		queues, err = i.names(ctx)
	} else {
		err = wire.CheckName("queue", queue)
	}
	if err != nil {
		return History{}, err
	}
	f := &finder{of: i, id: id, whole: len(queues) <= queuesTraced}
	err = f.rounds(ctx, queues[:min(len(queues), queuesTraced)])
	f.Looked = Count{N: f.looked, Exact: f.whole}
	return f.History, err
}

// errVanished says that an entry was there a moment ago.
var errVanished = errors.New("it was there a moment ago")

// finder looks for one task.
type finder struct {
	History
	of     *Inspector
	id     string
	queue  string // where it looks
	keys   wire.Keys
	trace  script.Trace // of that queue
	looked int64
	whole  bool // nothing was left out
	again  bool // it is the last round
}

// rounds looks again while the task moves: what vanishes between two looks is somewhere else then.
func (f *finder) rounds(ctx context.Context, queues []string) error {
	const most = 5
	keys := make([]wire.Keys, len(queues))
	for n, queue := range queues {
		keys[n] = f.of.store.Keys(queue)
	}
	before := f.of.store.Scripts().Trace(ctx, keys, f.id)
	for round := 1; ; round++ {
		f.again = round == most
		err := f.run(ctx, queues, keys, before)
		if !errors.Is(err, ErrNotFound) && !errors.Is(err, errVanished) || f.again {
			return err
		}
		after := f.of.store.Scripts().Trace(ctx, keys, f.id)
		if errors.Is(err, ErrNotFound) && !slices.ContainsFunc(after, moved(before)) {
			return err
		}
		before = after
	}
}

// moved tells of traces whether one shows the task where an earlier one of the same queue did not.
func moved(before []script.Trace) func(script.Trace) bool {
	n := -1
	return func(after script.Trace) bool {
		n++
		return after.Err == nil && (after.Due != before[n].Due || !slices.Equal(after.Told, before[n].Told))
	}
}

// run looks in some queues, first where the ID is enough.
func (f *finder) run(ctx context.Context, queues []string, keys []wire.Keys, traces []script.Trace) error {
	for n, trace := range traces {
		if trace.Err != nil {
			return f.of.explain(ctx, trace.Err, queues[n])
		}
		f.begin(queues[n], keys[n], trace)
		if found, err := f.atOnce(ctx); found || err != nil {
			return err
		}
	}
	for n := range traces {
		if n >= queuesSearched {
			f.whole = false
			break
		}
		f.begin(queues[n], keys[n], traces[n])
		if found, err := f.search(ctx); found || err != nil {
			return err
		}
	}
	return ErrNotFound
}

func (f *finder) begin(queue string, keys wire.Keys, trace script.Trace) {
	f.queue, f.keys, f.trace = queue, keys, trace
}

// atOnce takes the task from where its ID is enough to find it.
func (f *finder) atOnce(ctx context.Context) (bool, error) {
	if f.trace.Due != "" {
		f.takeDelayed()
		return true, nil
	}
	if len(f.trace.Told) == 0 {
		return false, nil
	}
	last, err := wire.DecodeOutcome(f.id, f.trace.Told[0].Text)
	if err != nil {
		return false, nil //nolint:nilerr // of another version, or by hand: it may still be found elsewhere
	}
	switch {
	case last.Kind == wire.KindMoved && last.Entry != wire.MovedDue:
		return f.takeEntry(ctx, last.Entry) // false where somebody deleted it by hand
	case last.Kind == wire.KindResult:
		f.takeOutcome(last)
		return true, nil
	case last.Kind == wire.KindFailure:
		if found, err := f.searchLetters(ctx); found || err != nil {
			return found, err
		}
		f.takeOutcome(last)
		return true, nil
	}
	return false, nil
}

// stretch is a part of a stream to search.
type stretch struct {
	from string
	down bool
	most int
}

const (
	wholeTasks   = 5_000 // entries of a stream that is searched from end to end
	wholeLetters = 5_000
)

// search looks for the task in the streams of tasks and of dead letters.
func (f *finder) search(ctx context.Context) (bool, error) {
	parts := []stretch{{"-", false, wholeTasks}}
	if f.trace.Entries > wholeTasks {
		at, err := f.near(ctx, f.keys.Tasks(), false)
		if err != nil {
			return false, err
		}
		parts = []stretch{{at, false, 2000}, {"(" + at, true, 1000}, {"-", false, 1500}, {"+", true, 1000}}
	}
	entry, err := f.seek(ctx, f.keys.Tasks(), parts)
	if err != nil {
		return false, err
	}
	if entry != "" {
		if found, err := f.takeEntry(ctx, entry); found || err != nil {
			return found, err
		}
	}
	return f.searchLetters(ctx)
}

func (f *finder) searchLetters(ctx context.Context) (bool, error) {
	parts := []stretch{{"+", true, wholeLetters}}
	if f.trace.Letters > wholeLetters {
		at, err := f.near(ctx, f.keys.Dead(), true)
		if err != nil {
			return false, err
		}
		parts = []stretch{{at, false, 1500}, {"(" + at, true, 1000}, {"+", true, 1500}}
	}
	letter, err := f.seek(ctx, f.keys.Dead(), parts)
	if err != nil || letter == "" {
		return false, err
	}
	return f.takeLetter(ctx, letter)
}

// near is the entry ID at which neighbours of the task begin.
func (f *finder) near(ctx context.Context, stream string, late bool) (string, error) {
	at, err := f.of.store.Scripts().Near(ctx, stream, enqueuedAt(f.id), late)
	if err != nil {
		return "", f.of.explain(ctx, err, f.queue)
	}
	return at, nil
}

// seek searches some parts of a stream. It notes when that was not all of it.
func (f *finder) seek(ctx context.Context, stream string, parts []stretch) (entry string, err error) {
	chunk, _, _ := wire.ItemOf(f.id)
	ended := false
	for _, part := range parts {
		spot := script.Spot{Stream: stream, ID: f.id, Chunk: chunk, Down: part.down, From: part.from}
		err := f.of.store.Scripts().Spot(ctx, &spot, part.most)
		f.looked += int64(spot.Looked)
		if err != nil {
			return "", f.of.explain(ctx, err, f.queue)
		}
		if spot.Entry != "" {
			return spot.Entry, nil
		}
		ended = len(parts) == 1 && spot.From == ""
	}
	f.whole = f.whole && ended
	return "", nil
}
