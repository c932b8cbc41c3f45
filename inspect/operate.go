package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
)

// Pause stops all workers of the queues from taking new tasks; what runs, or was fetched before, goes on, and clients may go on storing
// tasks. A queue that nobody has used yet is paused for when somebody does.
func (i *Inspector) Pause(ctx context.Context, queues ...string) error {
	return i.switchAll(ctx, "pause", queues)
}

// Resume lets workers take tasks of the queues again, at once.
func (i *Inspector) Resume(ctx context.Context, queues ...string) error {
	return i.switchAll(ctx, "resume", queues)
}

func (i *Inspector) switchAll(ctx context.Context, verb string, queues []string) error {
	for _, queue := range queues { // BEFORE the first one is switched
		if err := wire.CheckName("queue", queue); err != nil {
			return fmt.Errorf("inspect: %s: %w", verb, err)
		}
	}
	var errs []error
	for _, queue := range queues {
		if _, err := i.store.Scripts().Switch(ctx, i.store.Keys(queue), verb == "pause"); err != nil {
			errs = append(errs, fmt.Errorf("inspect: %s %s: %w", verb, queue, err))
		}
	}
	return errors.Join(errs...)
}

// Cancellation is what became of tasks that were to be cancelled.
type Cancellation struct {
	Removed int `json:"removed"` // had not started: their callers got the outcome "cancelled"
	Told    int `json:"told"`    // run: their workers were told to stop them
	Missing int `json:"missing"` // were not found
}

// Cancel cancels tasks, at most 200 in one call: those that have not started are removed, those that run have their contexts cancelled with
// the cause group.ErrCancelled. An item of a chunk is cancelled by the worker that has the chunk. One that is not found in a long queue is noted all the same: it does not start again if it
// was retried, or comes back from a worker that died.
func (i *Inspector) Cancel(ctx context.Context, queue string, ids ...string) (Cancellation, error) {
	ids, _, err := sortIDs(queue, ids, false)
	if err != nil {
		return Cancellation{}, fmt.Errorf("inspect: cancel: %w", err)
	}
	c := Cancellation{}
	removed, err := i.removeTasks(ctx, queue, ids)
	if err != nil {
		return c, fmt.Errorf("inspect: cancel tasks of %s: %w", queue, err)
	}
	var stop []string
	for _, id := range ids {
		switch removed.tasks[id] {
		case goneTask:
			c.Removed++
		case withWorker:
			c.Told++
			stop = append(stop, id)
		default:
			c.Missing++
			if !removed.all {
				stop = append(stop, id)
			}
		}
	}
	if err := i.store.Scripts().Stop(ctx, i.store.Keys(queue), stop...); err != nil {
		c.Missing, c.Told = c.Missing+c.Told, 0
		return c, fmt.Errorf("inspect: cancel tasks of %s that run: %w", queue, err)
	}
	return c, nil
}

// Retry makes tasks run now that are delayed or dead, at most 200 in one call, and returns how many it did. An ID may also be that of a
// dead letter. Dead letters are sought by task among the newest 20,000.
func (i *Inspector) Retry(ctx context.Context, queue string, ids ...string) (int, error) {
	tasks, letters, err := sortIDs(queue, ids, true)
	if err != nil {
		return 0, fmt.Errorf("inspect: retry: %w", err)
	}
	n := 0
	var rest []string
	if len(tasks) > 0 {
		found, err := i.store.Scripts().Hasten(ctx, i.store.Keys(queue), tasks)
		if err != nil {
			return 0, fmt.Errorf("inspect: retry delayed tasks of %s: %w", queue, err)
		}
		for at, id := range tasks {
			if found[at] {
				n++
			} else {
				rest = append(rest, id)
			}
		}
	}
	more, err := i.lettersOf(ctx, queue, rest)
	if err != nil {
		return n, fmt.Errorf("inspect: retry: %w", err)
	}
	for _, id := range append(letters, more...) {
		done, err := reclaim.Replay(ctx, i.store, queue, id)
		n += done
		if err != nil && !errors.Is(err, reclaim.ErrNoLetter) && !errors.Is(err, reclaim.ErrNotReplayable) {
			return n, fmt.Errorf("inspect: retry: %w", err)
		}
	}
	return n, nil
}

// Delete removes tasks that have not started, and dead letters, at most 200 in one call. An ID is that of a task or of a dead letter, which are sought
// by task among the newest 20,000. Callers of tasks get the outcome "cancelled". It returns how many were removed.
func (i *Inspector) Delete(ctx context.Context, queue string, ids ...string) (int, error) {
	tasks, letters, err := sortIDs(queue, ids, true)
	if err != nil {
		return 0, fmt.Errorf("inspect: delete: %w", err)
	}
	removed, err := i.removeTasks(ctx, queue, tasks)
	if err != nil {
		return removed.count(), fmt.Errorf("inspect: delete tasks of %s: %w", queue, err)
	}
	rest := slices.DeleteFunc(tasks, func(id string) bool { return removed.tasks[id] != missingTask })
	more, err := i.lettersOf(ctx, queue, rest)
	if err != nil {
		return removed.count(), fmt.Errorf("inspect: delete: %w", err)
	}
	n, err := reclaim.Purge(ctx, i.store, queue, append(letters, more...)...)
	if err != nil {
		return removed.count() + n, fmt.Errorf("inspect: delete: %w", err)
	}
	return removed.count() + n, nil
}

// sortIDs checks IDs, drops what comes twice, and parts those of dead letters from those of tasks.
func sortIDs(queue string, ids []string, mixed bool) (tasks, letters []string, err error) {
	errs := []error{wire.CheckName("queue", queue)}
	if len(ids) > pageMost {
		errs = append(errs, fmt.Errorf("%d IDs: use at most %d in one call", len(ids), pageMost))
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	for _, id := range ids {
		_, isTask := madeAt(id)
		switch {
		case isTask:
			tasks = append(tasks, id)
		case mixed && reclaim.IsLetterID(id):
			letters = append(letters, id)
		default:
			errs = append(errs, fmt.Errorf("ID %q: use that of a task, 26 capitals and digits", clip(id)))
		}
	}
	return tasks, letters, errors.Join(errs...)
}
