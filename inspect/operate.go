package inspect

import (
	"context"
	"errors"
	"fmt"

	"github.com/athoune/worker-machine/internal/wire"
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

// Cancel cancels tasks, at most 200 in one call: those that have not started are removed, those that run have their contexts cancelled.
func (i *Inspector) Cancel(ctx context.Context, queue string, ids ...string) (Cancellation, error) {
	return Cancellation{}, errNotYet
}

// Retry makes tasks run now that are delayed or dead, at most 200 in one call, and returns how many it did.
func (i *Inspector) Retry(ctx context.Context, queue string, ids ...string) (int, error) {
	return 0, errNotYet
}

// Delete removes tasks that have not started, and dead letters, by task ID, at most 200 in one call. Callers of the former get the
// outcome "cancelled". It returns how many were removed.
func (i *Inspector) Delete(ctx context.Context, queue string, ids ...string) (int, error) {
	return 0, errNotYet
}

// Purge removes all tasks of a queue in a state: Waiting, Delayed or Dead. It goes on in steps until the last task that was there when it began
// is gone, calls progress after each with how many are removed so far, and may be stopped and begun again.
func (i *Inspector) Purge(ctx context.Context, queue string, state State, progress func(removed int)) (int, error) {
	return 0, errNotYet
}
