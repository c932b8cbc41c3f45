package inspect

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// fate is what became of a task that was to be removed.
type fate int

const (
	missingTask fate = iota
	goneTask
	withWorker // it stays
)

// removal is what became of some tasks.
type removal struct {
	tasks map[string]fate
	all   bool // all of the queue was searched for those that are missing
}

func (r *removal) count() (n int) {
	for _, fate := range r.tasks {
		if fate == goneTask {
			n++
		}
	}
	return n
}

// removeTasks removes those of some tasks that have not started, wherever they are.
func (i *Inspector) removeTasks(ctx context.Context, queue string, ids []string) (removal, error) {
	r := removal{tasks: map[string]fate{}, all: true}
	refs := make([]script.TaskRef, len(ids))
	for at, id := range ids {
		refs[at].ID = id
	}
	if err := i.remove(ctx, queue, refs, r.tasks); err != nil { // those that are due later
		return r, err
	}
	var rest []string
	for _, id := range ids {
		if r.tasks[id] == missingTask {
			rest = append(rest, id)
		}
	}
	if len(rest) == 0 {
		return r, nil
	}
	found, all, err := i.seek(ctx, queue, rest)
	if err != nil {
		return r, err
	}
	r.all = all
	refs = refs[:0]
	for _, id := range rest {
		if entry := found[id]; entry != "" {
			refs = append(refs, script.TaskRef{ID: id, Entry: entry})
		} else if chunk, _, ok := wire.ItemOf(id); ok && found[chunk] != "" {
			r.tasks[id] = withWorker // or will be: a chunk is not taken apart before
		}
	}
	return r, i.remove(ctx, queue, refs, r.tasks)
}

// remove notes what became of tasks whose place is known.
func (i *Inspector) remove(ctx context.Context, queue string, refs []script.TaskRef, fates map[string]fate) error {
	for len(refs) > 0 {
		results, err := i.store.Scripts().Remove(ctx, i.store.Keys(queue), i.store.Group(), refs)
		if err != nil {
			return err
		}
		for at, result := range results {
			switch id := refs[at].ID; {
			case result > 0:
				fates[id] = goneTask
			case result == script.WithWorker:
				fates[id] = withWorker
			}
		}
		refs = refs[len(results):]
	}
	return nil
}

// lettersOf finds the newest dead letter of each of some tasks.
func (i *Inspector) lettersOf(ctx context.Context, queue string, tasks []string) (ids []string, err error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	walk := walkLetters(&LetterFilter{})
	walk.query.Newest, walk.query.Start, walk.query.End, walk.query.Tasks = true, "+", "-", tasks
	seen := map[string]bool{}
	for !walk.done && walk.looked < lettersGrouped && len(seen) < len(tasks) {
		walk.size(lettersGrouped-walk.looked, lettersAtOnce)
		look, letters, err := i.store.Scripts().Letters(ctx, i.store.Keys(queue), &walk.query)
		if err != nil {
			return nil, fmt.Errorf("look for dead letters of %s: %w", queue, err)
		}
		walk.step(look, len(letters))
		for _, stored := range letters {
			letter := openLetter(queue, stored)
			if !seen[letter.TaskID] {
				seen[letter.TaskID] = true
				ids = append(ids, letter.ID)
			}
		}
	}
	return ids, nil
}

// Purge removes all tasks of a queue in a state: Waiting, Delayed or Dead. It goes on in steps until the last task that was there when it
// began is gone, calls progress after each with how many are removed so far, and may be stopped and begun again. Callers of waiting and delayed
// tasks get the outcome "cancelled". Of delayed ones it removes also those that are stored meanwhile and due before the last one.
func (i *Inspector) Purge(ctx context.Context, queue string, state State, progress func(removed int)) (int, error) {
	var n int
	var err error
	switch state {
	case Dead:
		return i.PurgeLetters(ctx, queue, LetterFilter{}, progress)
	case Waiting, Delayed:
		if err = wire.CheckName("queue", queue); err != nil {
			break
		}
		purge := i.purgeWaiting
		if state == Delayed {
			purge = i.purgeDelayed
		}
		n, err = purge(ctx, queue, progress)
	case Running, Done, Failed, Cancelled:
		err = fmt.Errorf("state %q cannot be purged: use %s, %s or %s", state, Waiting, Delayed, Dead)
	default:
		err = fmt.Errorf("state %q: use %s, %s or %s", clip(string(state)), Waiting, Delayed, Dead)
	}
	if err != nil {
		return n, fmt.Errorf("inspect: purge: %w", err)
	}
	return n, nil
}

// purgeWaiting goes from the newest task to the oldest: the other way round it would run after the workers. What is stored meanwhile is newer.
func (i *Inspector) purgeWaiting(ctx context.Context, queue string, progress func(int)) (n int, err error) {
	page := script.Page{Start: "+", End: "-", Limit: lettersAtOnce}
	for ctx.Err() == nil {
		looked, gone, last, err := i.store.Scripts().RemovePage(ctx, i.store.Keys(queue), i.store.Group(), page)
		if err != nil || looked == 0 {
			return n, err
		}
		n += gone
		if gone > 0 {
			report(progress, n)
		}
		page.Start = "(" + last
	}
	return n, ctx.Err()
}

func (i *Inspector) purgeDelayed(ctx context.Context, queue string, progress func(int)) (n int, err error) {
	keys := i.store.Keys(queue)
	last, err := i.store.Client().ZRangeWithScores(ctx, keys.Due(), -1, -1).Result()
	if err != nil || len(last) == 0 {
		return 0, err
	}
	end := strconv.FormatFloat(last[0].Score, 'f', -1, 64)
	for ctx.Err() == nil {
		ids, err := i.store.Client().ZRangeByScore(ctx, keys.Due(), &redis.ZRangeBy{Min: "-inf", Max: end, Count: pageMost}).Result()
		if err != nil || len(ids) == 0 {
			return n, err
		}
		refs := make([]script.TaskRef, len(ids))
		for at, id := range ids {
			refs[at].ID = id
		}
		removed := removal{tasks: map[string]fate{}}
		err = i.remove(ctx, queue, refs, removed.tasks)
		n += removed.count()
		report(progress, n)
		if err != nil {
			return n, err
		}
	}
	return n, ctx.Err()
}
