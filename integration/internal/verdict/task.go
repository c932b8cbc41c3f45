package verdict

import (
	"maps"
	"slices"

	"github.com/athoune/worker-machine/integration/internal/history"
)

// task is what is known of a number. A million of them are kept, so it is small.
type task struct {
	id     uint64 // a hash of its ID in Redis, 0 where nobody wrote it
	marks  marks
	known  uint32 // how many faults had ended when it was first seen to be in Redis, plus 1; 0 for never
	owner  uint16 // the process that ordered it
	healed uint16 // how many faults with Loses had ended when it was ordered
	starts uint8  // executions that have begun; 255 for more
	ends   uint8  // executions that have returned
	way    uint8  // place in ways
}

// marks are what was seen of a task.
type marks uint32

const (
	ordered marks = 1 << iota
	stored
	refused
	unsure
	accepted // for sure by this execution
	resulted
	outcomeKept
	ended // any of the three, or an acceptance that is not sure
	cancelAsked
	wasCancelled
	crashLoop
	leftInRedis

	// One finding of a kind is enough for a task.
	foundDuplicate
	foundWrong
	foundEarly
)

func (t *task) is(m marks) bool { return t.marks&m != 0 }
func (t *task) mark(m marks)    { t.marks |= m }

// first marks a task, and tells whether it was not marked so before.
func (t *task) first(m marks) bool {
	before := t.is(m)
	t.mark(m)
	return !before
}

// ways are the ways to order by their numbers in task; 0 is none.
var ways = []history.Way{"", history.Forget, history.Kept, history.Call, history.Map, history.Delayed, history.Run, history.Ordered}

func wayNumber(w history.Way) uint8 { return uint8(max(0, slices.Index(ways, w))) } //nolint:gosec // there are eight

// awaited tells whether the owner waits for the outcome, and stores the task again when it is lost.
func (t *task) awaited() bool {
	switch ways[t.way] {
	case history.Call, history.Map, history.Ordered, history.Run:
		return true
	default:
		return false
	}
}

// pageSize is how many tasks lie side by side. Numbers come in blocks, one for each client, with gaps between them.
const pageSize = 1024

// table holds the tasks by their numbers.
type table struct {
	pages  map[int64]*[pageSize]task
	number int64 // of the page that was used last
	page   *[pageSize]task
}

func newTable() *table { return &table{pages: map[int64]*[pageSize]task{}, number: -1} }

// at returns the task of a number, which may not be negative.
func (t *table) at(n int64) *task {
	if number := n / pageSize; number != t.number {
		page := t.pages[number]
		if page == nil {
			page = new([pageSize]task)
			t.pages[number] = page
		}
		t.number, t.page = number, page
	}
	return &t.page[n%pageSize]
}

// each calls do for every task that was seen, in the order of numbers.
func (t *table) each(do func(n int64, t *task)) {
	for _, number := range slices.Sorted(maps.Keys(t.pages)) {
		for i := range t.pages[number] {
			if one := &t.pages[number][i]; *one != (task{}) {
				do(number*pageSize+int64(i), one)
			}
		}
	}
}

// isRun tells whether the number stands for a whole run.
func (t *task) isRun() bool { return ways[t.way] == history.Run }
