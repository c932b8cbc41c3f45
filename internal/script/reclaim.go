package script

import (
	"cmp"
	"context"

	"github.com/athoune/worker-machine/internal/wire"
)

// Entry is an entry taken over from another consumer.
type Entry struct {
	ID      string
	Fields  []string // name, value, name, value, and so on
	Crashes int      // of workers while they had it
	Alone   bool     // in the last of them it ran with nothing beside it
}

// ReclaimMode says what makes a consumer dead.
type ReclaimMode string

// The modes of [Runner.Reclaim].
const (
	ByLease    ReclaimMode = "lease"    // its lease has run out; refused while it has one
	ByPresence ReclaimMode = "presence" // its connection is gone; its lease is ended first
	ByRelease  ReclaimMode = "released" // handed back by a leaver; no crash is counted
)

// ReclaimFrom is one call of [Runner.Reclaim].
type ReclaimFrom struct {
	Keys  wire.Keys
	Group string
	Me    string // who takes the entries; [wire.ReleasedConsumer] lets anybody, and the answer has no entries
	Dead  string // who had them
	Limit int    // most entries to take
	Mode  ReclaimMode
}

// Reclaimed is the answer of [Runner.Reclaim].
type Reclaimed struct {
	Entries []Entry
	Alive   bool // its lease exists after all: nothing was taken
	More    bool // it has more pending entries
	Lost    int  // entries that were trimmed away while it had them
}

// Reclaim takes over pending entries of a dead consumer, and removes the consumer once it has none, in the same script.
func (r *Runner) Reclaim(ctx context.Context, from ReclaimFrom) (Reclaimed, error) {
	k := from.Keys
	answer, err := r.run(ctx, reclaimScript, []string{k.Tasks(), k.Lease(from.Dead), k.Crashes(), k.Counts(), k.Control()},
		[]any{from.Group, from.Me, from.Dead, from.Limit, string(from.Mode)})
	if err != nil {
		return Reclaimed{}, err
	}
	values, err := list(reclaimScript, answer, 2)
	if err != nil {
		return Reclaimed{}, err
	}
	left := number(values[0])
	got := Reclaimed{Alive: left < 0, More: left > 0, Lost: number(values[1])}
	for i := 2; i+2 < len(values); i += 3 {
		entry := decodeEntry(values[i])
		entry.Crashes, entry.Alone = number(values[i+1]), number(values[i+2]) == 1
		got.Entries = append(got.Entries, entry)
	}
	return got, nil
}

// Ghosts takes over entries of one page of the stream that were delivered but are in no pending list. It starts at a cursor, "-" for
// the beginning, and says where to go on: "" at the end.
func (r *Runner) Ghosts(ctx context.Context, keys wire.Keys, group, me string, page Page) (entries []Entry, next string, err error) {
	answer, err := r.run(ctx, ghostsScript, []string{keys.Tasks(), keys.Crashes(), keys.Counts()}, []any{group, me, page.Start, page.Limit, cmp.Or(page.Want, page.Limit)})
	if err != nil {
		return nil, "", err
	}
	values, err := list(ghostsScript, answer, 1)
	if err != nil {
		return nil, "", err
	}
	for _, v := range values[1:] {
		entries = append(entries, decodeEntry(v))
	}
	return entries, text(values[0]), nil
}

// Page is where a walk over a stream goes on, and how far.
type Page struct {
	Start string // "-" is the beginning
	End   string // where a walk has one
	Limit int    // of the entries looked at
	Want  int    // of those taken; 0 for all
}

// MarkAlone notes that a suspect, an entry that was in flight in two crashes, starts with nothing beside it. It notes nothing of an entry
// that somebody has ended meanwhile.
func (r *Runner) MarkAlone(ctx context.Context, keys wire.Keys, entry string) error {
	_, err := r.run(ctx, aloneScript, []string{keys.Crashes(), keys.Tasks()}, []any{entry})
	return err
}

func decodeEntry(v any) Entry {
	pair, _ := v.([]any)
	if len(pair) != 2 {
		return Entry{}
	}
	values, _ := pair[1].([]any)
	entry := Entry{ID: text(pair[0]), Fields: make([]string, len(values))}
	for i, value := range values {
		entry.Fields[i] = text(value)
	}
	return entry
}
