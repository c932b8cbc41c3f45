package wire

import (
	"fmt"
	"strings"
)

// ReleasedConsumer is the pseudo consumer that owns the entries a leaving worker handed back.
// Any worker may take them at once, and no crash is counted.
const ReleasedConsumer = "released"

// Longest names, in bytes.
const (
	maxName   = 128
	maxPrefix = 64
)

// CheckName reports what is wrong with the name of a queue, a function, a group or a worker.
// The rule keeps hash tags, key patterns, log lines and paths free of surprises.
func CheckName(kind, name string) error {
	if matches(name, maxName, "._-") {
		return nil
	}
	return fmt.Errorf("%s name %q: use 1 to 128 letters, digits, '.', '_' or '-', starting with a letter or digit", kind, clip(name, 160))
}

// CheckPrefix reports what is wrong with a key prefix; besides the characters of a name it may hold ':'.
func CheckPrefix(prefix string) error {
	if matches(prefix, maxPrefix, "._:-") {
		return nil
	}
	return fmt.Errorf("prefix %q: use 1 to 64 letters, digits, '.', '_', ':' or '-', starting with a letter or digit", clip(prefix, 96))
}

// matches tells whether s is 1 to most bytes long, of letters, digits and others, the first a letter or digit.
func matches(s string, most int, others string) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !alnum && (i == 0 || strings.IndexByte(others, c) < 0) {
			return false
		}
	}
	return true
}

// Keys names every key of one queue. All share one hash tag, so that a script may touch any of them on a cluster; but each partition
// of a map/reduce run has one of its own. Those of runs are named by [RunKeys].
//
//	<prefix>:{<queue>}:tasks             stream   tasks to run and running
//	<prefix>:{<queue>}:due               zset     task IDs by due time, ms with three decimals
//	<prefix>:{<queue>}:body              hash     task ID -> encoded task, for tasks that are due later
//	<prefix>:{<queue>}:lease:<worker>    string   heartbeat of one worker incarnation, PX
//	<prefix>:{<queue>}:producer:<lane>   string   last sequence number stored for that producer lane, PX
//	<prefix>:{<queue>}:unique:<hash>     string   uniqueness lock, holds the task ID, PX
//	<prefix>:{<queue>}:reply:<ulid>      stream   outcomes for one session (a client or a batch), or the kept outcome of the task of that ID, PX
//	<prefix>:{<queue>}:context:<ulid>    hash     small shared values of one batch, PX
//	<prefix>:{<queue>}:sessions          zset     IDs of sessions by their last renewal, ms; one hour, PX
//	<prefix>:{<queue>}:sessions:info     hash     session ID -> its process and its counts, JSON, PX
//	<prefix>:{<queue>}:batches           zset     names of durable batches by their last renewal, ms
//	<prefix>:{<queue>}:batch:<name>      hash     checkpoint of a durable batch, PX
//	<prefix>:{<queue>}:dead              stream   dead letters
//	<prefix>:{<queue>}:crashes           hash     entry ID -> crashes it was in flight in
//	<prefix>:{<queue>}:chunks            hash     entry ID of a chunk that runs -> its items that are settled, as ranges
//	<prefix>:{<queue>}:cancels           zset     cancelled task IDs by time, ms; one hour
//	<prefix>:{<queue>}:state             hash     paused; stops: when running tasks were last cancelled
//	<prefix>:{<queue>}:counts            hash     totals for metrics
//	<prefix>:{<queue>}:now               hash     what was done in the present minute, and how full the queue is
//	<prefix>:{<queue>}:trend             stream   the same of the last 1440 minutes in which there was something
//	<prefix>:{<queue>}:control           channel  due, cancel, stop, released, pause, resume: hints, the truth is in keys
//	<prefix>:{<queue>}:presence:<worker> channel  held subscribed by a live worker
//	<prefix>:{<queue>}:runs              zset     IDs of map/reduce runs by when they began, ms, PX
//	<prefix>:{<queue>}:run:<ulid>        hash     record of one run: what it is, and how far, PX
//	<prefix>:{<queue>}:run:<ulid>:maps   hash     number of a map task -> the execution that counts and how many segments it sent to each partition, or ! for one that failed, PX
//	<prefix>:{<queue>}:run:<ulid>:reduces hash    number of a reduce task -> the execution that counts and how many pieces its sorted sequences have, or !, PX
//	<prefix>:{<queue>}:run:<ulid>:running hash    number of a task of the phase -> since when, task, entry, execution and worker of the last execution that began, PX
//	<prefix>:{<queue>}:run:<ulid>:took   list     how long the last 200 tasks of the phase took, ms, PX
//	<prefix>:{<queue>}:run:<ulid>:reducers list   reduce tasks that wait for the end of the map phase, PX
//	<prefix>:{<queue>}:run:<ulid>:errors hash     m or r and the number of a task -> why it failed, JSON, PX
//	<prefix>:{<queue>}:run:<ulid>:events stream   changes of the run's state, PX
//	<prefix>:{<queue>/<ulid>/<partition>}:shuffle hash <split>.<execution>.<number> -> a sorted segment of map output, PX
//	<prefix>:{<queue>/<ulid>/<partition>}:out hash <execution>.<number> -> a sorted piece of reduce output, PX
//	<prefix>:queues                      set      names of all queues
type Keys struct{ base string }

// NewKeys returns the keys of one queue; both names must have passed their checks.
func NewKeys(prefix, queue string) Keys { return Keys{base: prefix + ":{" + queue + "}:"} }

// Tasks is the stream of tasks to run and running; an entry leaves it only in a commit.
func (k Keys) Tasks() string { return k.base + "tasks" }

// Due is the sorted set of task IDs by due time in milliseconds of the Redis clock, with three decimals.
func (k Keys) Due() string { return k.base + "due" }

// Body is the hash of encoded tasks that are due later, by task ID.
func (k Keys) Body() string { return k.base + "body" }

// Lease is the heartbeat key of one worker incarnation.
func (k Keys) Lease(worker string) string { return k.base + "lease:" + worker }

// Producer holds the last sequence number stored for one producer lane.
func (k Keys) Producer(lane string) string { return k.base + "producer:" + lane }

// Unique is the uniqueness lock for one hash.
func (k Keys) Unique(hash string) string { return k.base + "unique:" + hash }

// Reply is the reply stream of one session; an empty ID gives the prefix of all of them.
func (k Keys) Reply(id string) string { return k.base + "reply:" + id }

// Context is the hash of small values that the tasks of one batch share.
func (k Keys) Context(id string) string { return k.base + "context:" + id }

// Sessions is the sorted set of the IDs of sessions by when they were last renewed.
func (k Keys) Sessions() string { return k.base + "sessions" }

// SessionInfo is the hash of what sessions tell of themselves, by their IDs.
func (k Keys) SessionInfo() string { return k.base + "sessions:info" }

// Batches is the sorted set of the names of durable batches by when they were last renewed.
func (k Keys) Batches() string { return k.base + "batches" }

// Batch is the checkpoint of a durable batch; an empty name gives the prefix of all of them.
func (k Keys) Batch(name string) string { return k.base + "batch:" + name }

// Dead is the stream of dead letters.
func (k Keys) Dead() string { return k.base + "dead" }

// Crashes counts, by entry ID, the crashes an entry was in flight in.
func (k Keys) Crashes() string { return k.base + "crashes" }

// Chunks notes, by entry ID of a chunk that runs, which of its items are settled already.
func (k Keys) Chunks() string { return k.base + "chunks" }

// Cancels is the sorted set of IDs of tasks that were cancelled while their place was not known, or while they ran.
func (k Keys) Cancels() string { return k.base + "cancels" }

// State is the hash of switches of the queue.
func (k Keys) State() string { return k.base + "state" }

// Counts is the hash of totals.
func (k Keys) Counts() string { return k.base + "counts" }

// Now is the hash of what was done in the present minute.
func (k Keys) Now() string { return k.base + "now" }

// Trend is the stream of what was done in the minutes before.
func (k Keys) Trend() string { return k.base + "trend" }

// Control is the channel of hints to workers.
func (k Keys) Control() string { return k.base + "control" }

// Presence is the channel that one live worker keeps subscribed.
func (k Keys) Presence(worker string) string { return k.base + "presence:" + worker }

// Queues is the set of the names of all queues under a prefix; it has a slot of its own.
func Queues(prefix string) string { return prefix + ":queues" }

// clip shortens s to at most n bytes without cutting a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
