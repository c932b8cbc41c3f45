package wire

import "strconv"

// RunKeys names every key of one map/reduce run. Those of its home share the hash tag of its queue; each partition has one of its own, so
// that a cluster spreads them.
type RunKeys struct {
	queue Keys
	id    string
}

// Runs is the sorted set of the IDs of runs by when they began, in milliseconds.
func (k Keys) Runs() string { return k.base + "runs" }

// Run names the keys of a run, by its ID, a ULID.
func (k Keys) Run(id string) RunKeys { return RunKeys{queue: k, id: id} }

// Queue names the keys of the run's queue.
func (k RunKeys) Queue() Keys { return k.queue }

// ID is that of the run.
func (k RunKeys) ID() string { return k.id }

// Hash is the record of the run: what it is, and how far.
func (k RunKeys) Hash() string { return k.queue.base + "run:" + k.id }

// Maps holds what was decided of map tasks, by number.
func (k RunKeys) Maps() string { return k.Hash() + ":maps" }

// Reduces holds what was decided of reduce tasks, by number.
func (k RunKeys) Reduces() string { return k.Hash() + ":reduces" }

// Running notes the executions of the phase that have begun.
func (k RunKeys) Running() string { return k.Hash() + ":running" }

// Took is the list of how long the last tasks of the phase took, in milliseconds.
func (k RunKeys) Took() string { return k.Hash() + ":took" }

// Reducers is the list of reduce tasks that wait for the end of the map phase.
func (k RunKeys) Reducers() string { return k.Hash() + ":reducers" }

// Errors holds why tasks failed, by phase and number.
func (k RunKeys) Errors() string { return k.Hash() + ":errors" }

// Events is the stream of the changes of state.
func (k RunKeys) Events() string { return k.Hash() + ":events" }

// Reply is the stream of the outcomes of the run's tasks.
func (k RunKeys) Reply() string { return k.queue.Reply(k.id) }

// Home is all keys of the run that lie in the slot of its queue, the record first.
func (k RunKeys) Home() []string {
	return []string{k.Hash(), k.Maps(), k.Reduces(), k.Running(), k.Took(), k.Reducers(), k.Errors(), k.Events(), k.Reply()}
}

// Shuffle is the hash of the segments of a partition.
func (k RunKeys) Shuffle(partition int) string { return k.partition(partition) + "shuffle" }

// Out is the hash of the pieces of output of a partition.
func (k RunKeys) Out(partition int) string { return k.partition(partition) + "out" }

func (k RunKeys) partition(n int) string {
	tag := k.queue.base[:len(k.queue.base)-len("}:")]
	return tag + "/" + k.id + "/" + strconv.Itoa(n) + "}:"
}
