package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
)

const (
	lettersLooked  = 5_000  // by one listing
	lettersGrouped = 20_000 // by one call of LetterGroups
	lettersAtFirst = 32     // in the first page: their payloads may be a megabyte each
	lettersAtOnce  = 500    // in any page
	pageBytes      = 4 << 20
	groupIDLength  = 16
)

// LetterFilter chooses dead letters.
type LetterFilter struct {
	Reason   string
	Function string
	Group    string // ID of a LetterGroup
	After    string // Next of the page before
	Limit    int    // default 50, at most 200
}

// LetterPage is a part of the dead letters of a queue, newest first.
type LetterPage struct {
	Letters []reclaim.DeadLetter `json:"letters"` // of payloads the first 4 kB; Letter has all of one
	Next    string               `json:"next,omitempty"`
	Total   Count                `json:"total"` // of the queue
}

// Letters lists dead letters, newest first. One call looks at 5,000 at most: where more may follow there is a Next, even if the page is
// short or empty.
func (i *Inspector) Letters(ctx context.Context, queue string, filter LetterFilter) (LetterPage, error) {
	if err := filter.check(queue); err != nil {
		return LetterPage{}, fmt.Errorf("inspect: list dead letters: %w", err)
	}
	keys := i.store.Keys(queue)
	limit := cmp.Or(filter.Limit, pageDefault)
	total, err := i.store.Client().XLen(ctx, keys.Dead()).Result()
	if err != nil {
		return LetterPage{}, fmt.Errorf("inspect: count dead letters of %s: %w", queue, err)
	}
	page := LetterPage{Letters: []reclaim.DeadLetter{}, Total: Count{N: total, Exact: true}}
	walk := walkLetters(&filter)
	walk.query.Newest, walk.query.Start, walk.query.End = true, "+", "-"
	if filter.After != "" {
		walk.query.Start = "(" + filter.After
	}
	for !walk.done && walk.looked < lettersLooked && len(page.Letters) <= limit {
		walk.size(lettersLooked-walk.looked, limit+1-len(page.Letters)) // one more than asked for tells whether there is a next page
		look, letters, err := i.store.Scripts().Letters(ctx, keys, &walk.query)
		if err != nil {
			return LetterPage{}, fmt.Errorf("inspect: list dead letters of %s: %w", queue, err)
		}
		for _, letter := range letters {
			page.Letters = append(page.Letters, openLetter(queue, letter))
		}
		walk.step(look, len(letters))
	}
	switch {
	case len(page.Letters) > limit:
		page.Letters = page.Letters[:limit]
		page.Next = page.Letters[limit-1].ID
	case !walk.done:
		page.Next = walk.last
	}
	return page, nil
}

// Letter is one dead letter with its whole payload. It is ErrNotFound when there is none of that ID.
func (i *Inspector) Letter(ctx context.Context, queue, id string) (reclaim.DeadLetter, error) {
	err := wire.CheckName("queue", queue)
	if err == nil && !reclaim.IsLetterID(id) {
		err = errLetterID
	}
	if err != nil {
		return reclaim.DeadLetter{}, fmt.Errorf("inspect: read a dead letter: %w", err)
	}
	found, err := i.store.Client().XRangeN(ctx, i.store.Keys(queue).Dead(), id, id, 1).Result()
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return reclaim.DeadLetter{}, fmt.Errorf("inspect: read dead letter %s of %s: %w", id, queue, err)
	}
	return reclaim.Open(queue, found[0]), nil
}

// LetterGroup is dead letters that failed alike: same function, reason and first line of the error, but for the numbers, IDs, quoted
// texts and addresses in it.
type LetterGroup struct {
	ID       string    `json:"group"` // hash of what they have in common
	Function string    `json:"function"`
	Reason   string    `json:"reason"`
	Error    string    `json:"error"` // of the newest, its first 1,024 bytes
	N        int64     `json:"n"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Example  string    `json:"letter"` // ID of the newest
}

// LetterGroups groups the newest 20,000 dead letters of a queue, the largest group first. seen is how many were looked at, exact when
// that is all.
func (i *Inspector) LetterGroups(ctx context.Context, queue string) (groups []LetterGroup, seen Count, err error) {
	if err := wire.CheckName("queue", queue); err != nil {
		return nil, Count{}, fmt.Errorf("inspect: group dead letters: %w", err)
	}
	walk := walkLetters(&LetterFilter{})
	walk.query.Newest, walk.query.Start, walk.query.End = true, "+", "-"
	byID := map[string]int{}
	groups = []LetterGroup{}
	for !walk.done && walk.looked < lettersGrouped {
		walk.size(lettersGrouped-walk.looked, lettersAtOnce+1) // groups: there are no more of them than letters in a page
		look, some, err := i.store.Scripts().LetterGroups(ctx, i.store.Keys(queue), &walk.query)
		if err != nil {
			return nil, Count{}, fmt.Errorf("inspect: group dead letters of %s: %w", queue, err)
		}
		for _, g := range some {
			at, known := byID[g.ID]
			if !known {
				at = len(groups)
				byID[g.ID] = at
				groups = append(groups, LetterGroup{
					ID: g.ID, Function: g.Function, Reason: g.Reason, Error: g.Error, Last: entryTime(g.Newest), Example: g.Newest,
				})
			}
			groups[at].N += int64(g.N)
			groups[at].First = entryTime(g.Oldest)
		}
		walk.step(look, len(some))
	}
	slices.SortStableFunc(groups, func(a, b LetterGroup) int { return cmp.Compare(b.N, a.N) })
	return groups, Count{N: int64(walk.looked), Exact: walk.done}, nil
}

// Replay puts the dead letters that the filter chooses back into their queue, all that were there when it began, and calls progress
// with how many are back so far. Limit and After of the filter have no meaning. What holds no task stays and is not counted. Each letter
// turns into a task in one step, so after an error, or an end of ctx, it may be called again: nothing is lost or doubled.
func (i *Inspector) Replay(ctx context.Context, queue string, filter LetterFilter, progress func(replayed int)) (int, error) {
	n := 0
	err := i.eachLetter(ctx, queue, &filter, func(ids []string) error {
		for _, id := range ids {
			done, err := reclaim.Replay(ctx, i.store, queue, id)
			n += done
			if err != nil && !errors.Is(err, reclaim.ErrNoLetter) && !errors.Is(err, reclaim.ErrNotReplayable) {
				return err
			}
		}
		report(progress, n)
		return nil
	})
	if err != nil {
		return n, fmt.Errorf("inspect: replay: %w", err)
	}
	return n, nil
}

// PurgeLetters removes the dead letters that the filter chooses, as Replay does.
func (i *Inspector) PurgeLetters(ctx context.Context, queue string, filter LetterFilter, progress func(purged int)) (int, error) {
	n := 0
	err := i.eachLetter(ctx, queue, &filter, func(ids []string) error {
		done, err := reclaim.Purge(ctx, i.store, queue, ids...)
		n += done
		report(progress, n)
		return err
	})
	if err != nil {
		return n, fmt.Errorf("inspect: purge: %w", err)
	}
	return n, nil
}

func report(progress func(int), n int) {
	if progress != nil {
		progress(n)
	}
}

// eachLetter hands over the IDs of the letters that the filter chooses, oldest first, up to the one that is the newest now.
func (i *Inspector) eachLetter(ctx context.Context, queue string, filter *LetterFilter, visit func(ids []string) error) error {
	all := *filter
	all.After, all.Limit = "", 0
	if err := all.check(queue); err != nil {
		return err
	}
	keys := i.store.Keys(queue)
	newest, _, err := i.store.Scripts().LetterIDs(ctx, keys, &script.LetterQuery{Newest: true, Start: "+", End: "-", Look: 1, Find: 1})
	if err != nil || newest.Last == "" {
		return err
	}
	walk := walkLetters(&all)
	walk.query.Start, walk.query.End = "-", newest.Last
	for !walk.done {
		if err := ctx.Err(); err != nil {
			return err
		}
		walk.size(lettersAtOnce, lettersAtOnce)
		look, ids, err := i.store.Scripts().LetterIDs(ctx, keys, &walk.query)
		if err != nil {
			return err
		}
		walk.step(look, len(ids))
		if len(ids) == 0 {
			continue
		}
		if err := visit(ids); err != nil {
			return err
		}
	}
	return nil
}

// letterWalk goes through dead letters page by page. Redis serves nobody else while it reads one, so a page holds a few megabytes, as
// far as can be told by the pages before.
type letterWalk struct {
	query  script.LetterQuery
	looked int
	bytes  int
	last   string
	done   bool // there are no more
}

func walkLetters(filter *LetterFilter) *letterWalk {
	return &letterWalk{query: script.LetterQuery{Reason: filter.Reason, Function: filter.Function, Group: filter.Group}}
}

// size says how much the next page looks at, and finds, at most.
func (w *letterWalk) size(look, find int) {
	most := lettersAtFirst
	if w.looked > 0 {
		most = min(lettersAtOnce, max(1, pageBytes/max(1, w.bytes/w.looked)))
	}
	if w.query.Reason+w.query.Function+w.query.Group == "" && len(w.query.Tasks) == 0 {
		look = min(look, find) // all are wanted
	}
	w.query.Look, w.query.Find = min(look, most), find
}

// step takes in what a page was, and how many letters were found in it.
func (w *letterWalk) step(look script.LetterLook, found int) {
	w.looked += look.Looked
	w.bytes += look.Bytes
	if look.Last != "" {
		w.last = look.Last
		w.query.Start = "(" + look.Last
	}
	w.done = look.Looked < w.query.Look && found < w.query.Find
}

func (f *LetterFilter) check(queue string) error {
	errs := []error{wire.CheckName("queue", queue)}
	if f.Function != "" {
		errs = append(errs, wire.CheckName("function", f.Function))
	}
	if f.Group != "" && (len(f.Group) != groupIDLength || strings.Trim(f.Group, "0123456789abcdef") != "") {
		errs = append(errs, fmt.Errorf("group %q: use the ID of a group, 16 hex digits", clip(f.Group)))
	}
	if f.After != "" && !reclaim.IsLetterID(f.After) {
		errs = append(errs, fmt.Errorf("after: %w", errLetterID))
	}
	errs = append(errs, checkLimit(f.Limit))
	return errors.Join(errs...)
}

func openLetter(queue string, stored script.StoredLetter) reclaim.DeadLetter {
	message := redis.XMessage{ID: stored.ID, Values: map[string]any{}}
	for at := 0; at+1 < len(stored.Fields); at += 2 {
		message.Values[stored.Fields[at]] = stored.Fields[at+1]
	}
	letter := reclaim.Open(queue, message)
	letter.Size = stored.Size
	return letter
}

// entryTime reads the clock of Redis from the ID of an entry.
func entryTime(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n)
}
