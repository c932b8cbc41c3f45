package verdict

import (
	"hash/maphash"

	"github.com/athoune/worker-machine/integration/internal/history"
)

// execution is one call of a handler, as Start and End name it.
type execution struct {
	number  int64
	process uint16
	attempt int32
	place   uint64 // a hash of worker and entry
}

// executions are the calls that have not returned. Those of killed workers stay: there are as many as could run at a time.
type executions struct {
	seed  maphash.Seed
	under map[execution]uint8 // how many had begun of the same task, with this one
}

func newExecutions() *executions {
	return &executions{seed: maphash.MakeSeed(), under: map[execution]uint8{}}
}

func (e *executions) key(process uint16, r *history.Record) execution {
	return execution{r.Number, process, int32(r.Attempt), e.hash(r.Worker)*31 + e.hash(r.Entry)} //nolint:gosec // attempts are few
}

// hash is 0 for an empty text only.
func (e *executions) hash(text string) uint64 {
	if text == "" {
		return 0
	}
	return max(1, maphash.String(e.seed, text))
}

func (e *executions) start(t *task, process uint16, r *history.Record) {
	t.starts += min(1, 255-t.starts)
	e.under[e.key(process, r)] = t.starts
}

// end tells whether another execution of the task began while this one ran.
func (e *executions) end(t *task, process uint16, r *history.Record) (overlaps bool) {
	key := e.key(process, r)
	begun, ok := e.under[key]
	if !ok {
		return false
	}
	delete(e.under, key)
	t.ends += min(1, 255-t.ends)
	return t.starts > begun
}
