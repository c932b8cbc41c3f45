package script

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// Most one commit may hold: Lua's argument stack and the time that other clients wait bound it.
const (
	MaxCommitItems = 500
	MaxCommitBytes = 4 << 20
)

// CommitBatch is one call of [Runner.Commit].
type CommitBatch struct {
	Keys    wire.Keys
	Group   string
	Worker  string
	Fence   string // of the worker's lease when all these entries were fetched; "" asks for each entry by itself
	Counter string // the total to add to: "done", or "cancelled"
	Items   []CommitItem
}

// CommitItem is one outcome.
type CommitItem struct {
	Entry   string // entry ID
	Read    uint64 // the number that the worker gave to the read of new entries that delivered it, 0 when it came another way
	Place   int    // its place among what that read delivered
	TaskID  string
	Reply   string // ULID of its reply stream, "" for none
	Unique  string // hash of its uniqueness lock, "" for none
	Outcome string // as [wire.Outcome] encodes it
}

// Commit records outcomes and removes the entries. The first commit of an entry wins, whoever makes it: the indexes of those
// that were done already come back. At most [MaxCommitItems] items and about [MaxCommitBytes] bytes go into one call. It costs least
// when items that one read delivered as neighbours are neighbours here.
func (r *Runner) Commit(ctx context.Context, b CommitBatch) (late []int, err error) {
	keys := []string{b.Keys.Tasks(), b.Keys.Lease(b.Worker), b.Keys.Counts(), b.Keys.Crashes()}
	stretches := b.stretches()
	args := make([]any, 0, 5+len(stretches)+5*len(b.Items))
	args = append(args, b.Group, b.Fence, b.Counter, len(b.Items), len(stretches)/2)
	for i := range b.Items {
		args = append(args, &b.Items[i].Entry) // a text would be allocated once more
	}
	args = append(args, stretches...)
	if b.told() {
		keys, args = b.addresses(keys, args)
	}
	answer, err := r.run(ctx, commitScript, keys, args)
	if err != nil {
		return nil, err
	}
	values, err := list(commitScript, answer, 0)
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		late = append(late, number(v)-1)
	}
	return late, nil
}

// leastStretch is how many neighbours are worth the look whether anything lies before them.
const leastStretch = 4

// stretches cuts the items into neighbours of one read, and the rest: for each stretch how many there are, and the ID after the last
// one, "" for those that are no neighbours.
func (b *CommitBatch) stretches() []any {
	var cut []any
	loose := 0
	for from := 0; from < len(b.Items); {
		to := from + 1
		for to < len(b.Items) && b.Items[to].follows(&b.Items[to-1]) {
			to++
		}
		if after := idAfter(b.Items[to-1].Entry); to-from >= leastStretch && after != "" {
			if loose > 0 {
				cut = append(cut, loose, "")
			}
			cut = append(cut, to-from, after)
			loose = 0
		} else {
			loose += to - from
		}
		from = to
	}
	if loose > 0 {
		cut = append(cut, loose, "")
	}
	return cut
}

// follows tells whether nothing ever lies between the other item and this one, in its stream: one read delivers all that is there, and
// what is added later comes after the last.
func (c *CommitItem) follows(other *CommitItem) bool {
	return c.Read != 0 && c.Read == other.Read && c.Place == other.Place+1
}

// idAfter is the lowest ID above an entry's, "" when it has none.
func idAfter(entry string) string {
	ms, seq, ok := strings.Cut(entry, "-")
	n, err := strconv.ParseUint(seq, 10, 64)
	if !ok || err != nil || n == math.MaxUint64 {
		return ""
	}
	return ms + "-" + strconv.FormatUint(n+1, 10)
}

// told tells whether anybody hears of the outcomes: fire and forget needs no more than the entries.
func (b *CommitBatch) told() bool {
	return slices.ContainsFunc(b.Items, func(item CommitItem) bool { return item.Reply != "" || item.Unique != "" })
}

// addresses adds, for each item, what goes where.
func (b *CommitBatch) addresses(keys []string, args []any) ([]string, []any) {
	replies := make(map[string]int, 1)
	for i := range b.Items {
		item := &b.Items[i]
		reply, lock := 0, 0
		if item.Reply != "" {
			if reply = replies[item.Reply]; reply == 0 {
				keys = append(keys, b.Keys.Reply(item.Reply))
				reply = len(keys)
				replies[item.Reply] = reply
			}
		}
		if item.Unique != "" {
			keys = append(keys, b.Keys.Unique(item.Unique))
			lock = len(keys)
		}
		args = append(args, item.TaskID, item.Outcome, reply, lock)
	}
	return keys, args
}

// RetryItem is one call of [Runner.Retry].
type RetryItem struct {
	Keys     wire.Keys
	Group    string
	Consumer string        // who asks: only the owner of the entry may
	Entry    string        // entry ID
	Task     wire.Task     // as it is to run next: Attempt and LastError are set
	Delay    time.Duration // until it is due
	Counter  string        // the total to add to: "retried", "snoozed", "unknown"
}

// Retry moves a running task to the tasks that are due later. It reports false when the task was done elsewhere or is with
// another worker by now; then nothing has changed.
func (r *Runner) Retry(ctx context.Context, item RetryItem) (bool, error) {
	k := item.Keys
	keys := []string{k.Tasks(), k.Due(), k.Body(), k.Counts(), k.Crashes(), k.Control()}
	if item.Task.Reply != "" {
		keys = append(keys, k.Reply(item.Task.Reply))
	}
	answer, err := r.run(ctx, retryScript, keys, []any{
		item.Group, item.Consumer, item.Entry, item.Task.ID, item.Task.Body(), ceilMilliseconds(item.Delay), item.Counter,
	})
	return number(answer) == 1, err
}

// BuryItem is one call of [Runner.Bury].
type BuryItem struct {
	Keys     wire.Keys
	Group    string
	Consumer string   // who asks: only the owner of the entry may
	Entry    string   // entry ID
	TaskID   string   // "" when the entry is no task
	Reply    string   // ULID of its reply stream, "" for none
	Unique   string   // hash of its uniqueness lock, "" for none
	Outcome  string   // the failure for the reply stream
	Fields   []string // of the dead letter: name, value, name, value, and so on
}

// Bury ends a task with a dead letter. It reports false when the task was done elsewhere or is with another worker by now.
func (r *Runner) Bury(ctx context.Context, item BuryItem) (bool, error) {
	k := item.Keys
	lock, reply := k.Dead(), k.Dead()
	if item.Unique != "" {
		lock = k.Unique(item.Unique)
	}
	if item.Reply != "" {
		reply = k.Reply(item.Reply)
	}
	args := []any{item.Group, item.Consumer, item.Entry, item.TaskID, item.Outcome}
	for _, field := range item.Fields {
		args = append(args, field)
	}
	answer, err := r.run(ctx, buryScript, []string{k.Tasks(), k.Dead(), k.Counts(), k.Crashes(), lock, reply}, args)
	return number(answer) == 1, err
}
