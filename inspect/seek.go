package inspect

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

const (
	seekAll    = 20_000 // entries of a stream that is searched from end to end
	seekHead   = 5_000  // of a longer one, the oldest: among them are those that run
	seekMost   = 40_000 // entries looked at by one search
	seekProbe  = 100    // looked at to see when the tasks there were made
	seekWindow = 3_000  // around where a task should be
	seekAtOnce = 1_500  // in one step
	seekHops   = 3      // windows for one task
	seekMargin = 5      // ms
)

// search looks for tasks in the stream of a queue.
type search struct {
	of     *Inspector
	keys   wire.Keys
	ids    []string
	wanted []string          // those, and the chunks of which they may be items
	found  map[string]string // entries by task
	looked int
	bytes  int
}

// seek finds the entries of tasks that wait or run, also of chunks they may be items of. all tells whether the whole stream was searched: one that
// is long is searched only at its head and where they should be by their IDs, and at most 40,000 entries of it.
func (i *Inspector) seek(ctx context.Context, queue string, ids []string) (found map[string]string, all bool, err error) {
	s := &search{of: i, keys: i.store.Keys(queue), ids: ids, wanted: slices.Clone(ids), found: map[string]string{}}
	for _, id := range ids {
		if chunk, _, ok := wire.ItemOf(id); ok {
			s.wanted = append(s.wanted, chunk)
		}
	}
	length, err := i.store.Client().XLen(ctx, s.keys.Tasks()).Result()
	if err == nil && length <= seekAll {
		_, all, err = s.walk(ctx, "-", seekMost)
	} else if err == nil {
		err = s.windows(ctx)
	}
	if err != nil {
		return nil, false, fmt.Errorf("inspect: look for tasks in %s: %w", queue, err)
	}
	return s.found, all, nil
}

// windows looks where tasks should be by when they were made, and then among the oldest entries.
func (s *search) windows(ctx context.Context) error {
	for _, id := range slices.Sorted(slices.Values(s.ids)) {
		if s.looked >= seekMost {
			return nil
		}
		if made, ok := madeAt(id); ok && !s.has(id) {
			if err := s.near(ctx, id, made); err != nil {
				return err
			}
		}
	}
	_, _, err := s.walk(ctx, "-", seekHead)
	return err
}

// near looks for a task among those that were made when it was. The clock of a client may be another one than that of Redis, and what
// it sends much at once takes a while: so it goes by when the tasks were made that it finds.
func (s *search) near(ctx context.Context, id string, made int64) error {
	start, most := made, seekProbe
	least := int64(math.MaxInt64) // how late tasks near it are at least
	for range seekHops {
		page, _, err := s.walk(ctx, entryAt(start), most)
		if err == nil && page.Last == "" { // nothing is so new
			page, err = s.newest(ctx)
		}
		if err != nil || s.has(id) || page.Last == "" {
			return err
		}
		neighbour, ok := madeAt(page.Task)
		if !ok {
			return nil
		}
		end := entryTime(page.Last).UnixMilli()
		late := end - neighbour
		least = min(least, late)
		switch width := end - start; {
		case neighbour < made || most == seekProbe || width < 0:
			start = made + late - seekMargin
		default: // it went past
			start -= max(seekMargin, width)
		}
		most = seekWindow
	}
	// Where tasks come in bursts, how late they are goes up and down: it cannot lie before the least of it.
	_, _, err := s.walk(ctx, entryAt(made+least-seekMargin), 2*seekWindow)
	return err
}

// newest is the last entry.
func (s *search) newest(ctx context.Context) (page script.Sought, err error) {
	last, err := s.of.store.Client().XRevRangeN(ctx, s.keys.Tasks(), "+", "-", 1).Result()
	if err != nil || len(last) == 0 {
		return page, err
	}
	value, _ := last[0].Values[wire.Field].(string)
	return script.Sought{Last: last[0].ID, Task: value[:min(len(value), wire.IDLength)]}, nil
}

func entryAt(ms int64) string { return strconv.FormatInt(max(0, ms), 10) }

// walk looks at so many entries, until all that are sought are found; all tells whether it came to the end of the stream.
func (s *search) walk(ctx context.Context, start string, most int) (page script.Sought, all bool, err error) {
	for most > 0 && slices.ContainsFunc(s.ids, func(id string) bool { return !s.has(id) }) {
		limit := min(most, lettersAtFirst)
		if s.looked > 0 {
			limit = min(most, seekAtOnce, max(1, pageBytes/max(1, s.bytes/s.looked)))
		}
		next, err := s.of.store.Scripts().Seek(ctx, s.keys, script.Page{Start: start, End: "+", Limit: limit}, s.wanted)
		if err != nil {
			return page, false, err
		}
		s.looked, s.bytes, most = s.looked+next.Looked, s.bytes+next.Bytes, most-next.Looked
		for _, ref := range next.Found {
			s.found[ref.ID] = ref.Entry
		}
		if next.Last != "" {
			page, start = next, "("+next.Last
		}
		if next.Looked < limit {
			return page, true, nil
		}
	}
	return page, false, nil
}

// has tells whether the place of a task is known.
func (s *search) has(id string) bool {
	chunk, _, _ := wire.ItemOf(id)
	return s.found[id] != "" || s.found[chunk] != ""
}

// madeAt reads from the ID of a task when its client made it, ms.
func madeAt(id string) (ms int64, ok bool) {
	u, err := ulid.ParseStrict(id)
	return int64(u.Time()), err == nil && id == strings.ToUpper(id) //nolint:gosec // 48 bits
}
