// Package history is what processes under test write down, one JSON object a line, and what integration/check decides from.
//
// Each process appends to a file of its own. A line is written with one call of write, so a process that is killed leaves whole
// lines and at most one torn one at the end, which readers skip. A line is written BEFORE the thing that it says begins (invoke,
// start) or AFTER it has ended (ok, end): what a killed process did not write may or may not have happened.
//
// A task is known by its number, which is in its input: 1 for the first task of a seed, without gaps within a client's block of numbers.
package history

// Kind says what happened.
type Kind string

// The kinds. In brackets: which fields they fill besides At, Process and Kind.
const (
	// Order: a client is about to store a task. [Number, Way, Function, Due].
	Order Kind = "order"
	// Stored: the library said that Redis has it. [Number, Task].
	Stored Kind = "stored"
	// Refused: the library said that it is not stored, for sure. [Number, Error].
	Refused Kind = "refused"
	// Unsure: the library said that it may be stored or not. [Number, Error].
	Unsure Kind = "unsure"
	// Start: a handler was called. [Number, Task, Attempt, Worker, Entry].
	Start Kind = "start"
	// End: a handler has returned. [Number, Task, Attempt, Worker, Entry, Value or Error].
	End Kind = "end"
	// Accepted: Redis confirmed to a worker that this outcome is the task's. [Number, 0 when it was cancelled before it started, Task, Worker, Error; Again
	// when an earlier try of the same call had failed: then another worker's outcome may be the one].
	Accepted Kind = "accepted"
	// Late: Redis told a worker that the task had another outcome already. [Number, Task, Worker].
	Late Kind = "late"
	// Result: whoever ordered the task was given its outcome. Calls, maps and runs have no Stored: they end with this. [Number, Task, Value or Error;
	// of an ordered input Text: the batch, any name that no other one of the process has].
	Result Kind = "result"
	// Outcome: an outcome that Redis keeps, read once all is quiet. [Number, Value or Error].
	Outcome Kind = "outcome"
	// Cancel: a client asked that a task be cancelled; it may still have run. [Number].
	Cancel Kind = "cancel"
	// Gone: the library told a client that data was lost (OnLoss, ErrLost). [Number: the first that may be gone, 0 for any].
	Gone Kind = "gone"
	// FaultBegin and FaultEnd: the nemesis. [Number: of the fault, Fault, Text: what exactly; Loses when it takes data from Redis].
	FaultBegin Kind = "fault"
	FaultEnd   Kind = "healed"
	// Calm: the last fault is over, and clients take no new work. Settled: the waiting for what is under way is over.
	Calm    Kind = "calm"
	Settled Kind = "settled"
	// Left: something that should not lie in Redis, or be held by a process, at the end. [Text].
	Left Kind = "left"
	// Totals: what Redis counted in the queues, at the end. [Counts: enqueued, done, dead, cancelled, ...].
	Totals Kind = "totals"
	// Begin is the first line of each process. [Text: role, version, server, seed].
	Begin Kind = "begin"
)

// Way is how a task was ordered.
type Way string

// The ways.
const (
	Forget  Way = "forget"  // Enqueue, nobody waits
	Kept    Way = "kept"    // Enqueue with Keep: Redis keeps the outcome
	Call    Way = "call"    // Call
	Map     Way = "map"     // an input of mapreduce.Map
	Delayed Way = "delayed" // Enqueue with After
	Run     Way = "run"     // a whole map/reduce run: Number stands for the run, Value is a sum over its results, see RunValue; its tasks write nothing
	Ordered Way = "ordered" // an input of mapreduce.Map with InOrder: results come in the order of numbers
)

// Record is one line. Times are nanoseconds of the machine's wall clock: all processes run on one machine.
type Record struct {
	At       int64            `json:"at"`
	Process  string           `json:"p"`
	Kind     Kind             `json:"k"`
	Number   int64            `json:"n,omitempty"`
	Way      Way              `json:"w,omitempty"`
	Task     string           `json:"t,omitempty"`
	Entry    string           `json:"e,omitempty"`
	Worker   string           `json:"x,omitempty"` // incarnation
	Attempt  int              `json:"a,omitempty"`
	Function string           `json:"f,omitempty"`
	Due      int64            `json:"due,omitempty"` // ns, by the client's clock
	Value    int64            `json:"v,omitempty"`
	Error    string           `json:"err,omitempty"`
	Fault    string           `json:"fault,omitempty"` // its kind
	Again    bool             `json:"again,omitempty"` // the call was repeated, so what it confirms may be of another one
	Loses    bool             `json:"loses,omitempty"` // acknowledged data may be gone
	Bound    int64            `json:"bound,omitempty"` // of a fault: within how many ns of its end something must have been accepted again; 0 for no bound
	Text     string           `json:"text,omitempty"`
	Counts   map[string]int64 `json:"counts,omitempty"`
}

// What the one function of the tests makes of a number. The checker compares with it, and knows nothing else of the work.
const (
	DropEvery   = 101 // number % DropEvery == 3: ends in a dead letter, at once
	RetryEvery  = 53  // number % RetryEvery == 5: the first attempt fails
	SlowEvery   = 97  // number % SlowEvery == 7: takes SlowFor
	SlowFor     = 100 // ms
	DropMessage = "this number is dropped"
)

// Value is the right result of a number.
func Value(n int64) int64 { return n*n%1_000_003 + n }

// Drops tells whether a number ends in a failure with DropMessage.
func Drops(n int64) bool { return n%DropEvery == 3 }

// FailsFirst tells whether the first attempt of a number fails.
func FailsFirst(n int64) bool { return n%RetryEvery == 5 && !Drops(n) }

// Slow tells whether a number takes SlowFor milliseconds.
func Slow(n int64) bool { return n%SlowEvery == 7 }

// Errors of outcomes besides DropMessage.
const (
	Cancelled = "cancelled"  // somebody cancelled the task
	CrashLoop = "crash loop" // three workers died while they ran it alone
)

// RunInputs is how many inputs a map/reduce run has; a run of number n is over n, n+1, ...
const RunInputs = 200

// RunValue is the right sum over the results of the run of a number.
func RunValue(n int64) (sum int64) {
	for i := range int64(RunInputs) {
		sum += Value(n + i)
	}
	return sum
}
