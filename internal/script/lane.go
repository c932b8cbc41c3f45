package script

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/wire"
)

// Lane is one call of enqueue: tasks of one producer lane, numbered from First without a gap. One that is used again, for one call after
// the other, takes along what it has made before.
type Lane struct {
	Keys     wire.Keys
	ID       string        // names the lane's key
	First    int64         // number of the first task; a lane starts at 1
	Before   string        // the lane's value as the last answer had it; "" where there was none
	TTL      time.Duration // how long the lane's key lives from now on; 0 leaves it as it is
	Limit    int64         // most tasks in the queue, waiting, running and delayed; 0 is no limit
	Tasks    []LaneTask
	Replicas int           // wait until so many replicas have it; 0 does not wait
	Wait     time.Duration // for how long at most
	Watch    bool          // prepare an Append: plain tasks come next, perhaps, and their line is the same

	args     []any
	commands [][]any
	appended appended
	named    string // the ID that the keys are of
	keys     [plainKeys + moreKeys]string
	before   string
	after    string
	ttl      string
	options  []byte
}

// Keys that each call has, and those that options need besides.
const plainKeys, moreKeys = 3, 3

// LaneTask is one task of a [Lane].
type LaneTask struct {
	Task      []byte        // as [wire.Task.Encode] has it, marked as promoted where it is due later
	After     time.Duration // due so long from now
	At        int64         // due at this Unix time in ms; After wins
	Unique    string        // hash of the uniqueness key, "" for none
	UniqueTTL time.Duration
	Keep      time.Duration // how long its outcome is kept, in the reply stream of its own ID, from when it is due; 0 for none
}

// MarshalBinary is how the library asks for an argument; a pointer to a task costs no allocation.
func (t *LaneTask) MarshalBinary() ([]byte, error) { return t.Task, nil }

// HasOptions tells whether it is more than a plain task.
func (t *LaneTask) HasOptions() bool { return t.Delayed() || t.Unique != "" || t.Keep > 0 }

// Delayed tells whether it is stored to run later.
func (t *LaneTask) Delayed() bool { return t.After > 0 || t.At > 0 }

// Place is what became of one task of a [Lane].
type Place struct {
	Entry     string // its entry, unless it is delayed, or was stored by an earlier try and is done
	Duplicate string // the ID of the task that holds the uniqueness lock
	Full      bool   // refused: the queue is full; it took no number
}

// Stored is the answer of [Runner.Enqueue].
type Stored struct {
	Gap      bool   // Redis has lost what was stored before: nothing of this call is stored
	Value    string // the lane's value, for [Lane.Before] of the next call
	Last     int64  // the lane's last number
	Replicas int    // how many replicas have it
	Watched  bool   // the line is ready for an Append
	Lost     bool   // of an Append: the tasks are stored, but Redis has lost the lane

	places   []Place // nil when all were just stored
	time     string  // of the first entry, with the '-'; "" after an Append, which does not tell entries
	sequence uint64  // of the first entry; the others follow it
}

// All tells whether all tasks were stored just now, each with an entry.
func (s *Stored) All() bool { return s.places == nil }

// Place is what became of the ith task of the call, from 0.
func (s *Stored) Place(i int) Place {
	if s.places != nil {
		return s.places[i]
	}
	if s.time == "" {
		return Place{}
	}
	return Place{Entry: s.time + strconv.FormatUint(s.sequence+uint64(i), 10)} //nolint:gosec // an index
}

// Line sends commands in one write and returns an answer for each, errors of the server among them. An error of Call says that it is not
// known what has run.
type Line interface {
	Call(ctx context.Context, commands ...[]any) ([]any, error)
}

// Enqueue stores tasks. A repeated call skips what an earlier try stored, so it may be retried for ever.
func (r *Runner) Enqueue(ctx context.Context, lane *Lane) (Stored, error) {
	return r.EnqueueOn(ctx, pipeline{runner: r, lane: lane}, lane)
}

// EnqueueOn is Enqueue on a line. With [Lane.Watch] it prepares an Append.
func (r *Runner) EnqueueOn(ctx context.Context, line Line, lane *Lane) (Stored, error) {
	if r.watch == nil {
		return r.enqueueOn(ctx, line, lane)
	}
	began := time.Now()
	stored, err := r.enqueueOn(ctx, line, lane)
	r.watch(enqueueScript.name, time.Since(began), err)
	return stored, err
}

func (r *Runner) enqueueOn(ctx context.Context, line Line, lane *Lane) (Stored, error) {
	answers, err := r.enqueue(ctx, line, lane, "evalsha")
	if err == nil && redis.HasErrorPrefix(failure(answers[0]), "NOSCRIPT") {
		if err = r.probe(ctx); err == nil {
			answers, err = r.enqueue(ctx, line, lane, "eval")
		}
	}
	if err == nil {
		err = failure(answers[0])
	}
	if err != nil {
		return Stored{}, fmt.Errorf("script: enqueue: %w", err)
	}
	stored, err := decodeStored(answers[0])
	if lane.Replicas > 0 {
		stored.Replicas = number(answers[1])
	}
	stored.Watched = lane.Watch && answers[len(answers)-1] == "OK"
	return stored, err
}

// enqueue calls the script, and in the same write WAIT, which speaks only of what its own connection wrote, and WATCH.
func (r *Runner) enqueue(ctx context.Context, line Line, lane *Lane, how string) ([]any, error) {
	commands := append(lane.commands[:0], lane.encode(how, r.source(enqueueScript)))
	if lane.Replicas > 0 {
		commands = append(commands, []any{"wait", lane.Replicas, int(lane.Wait.Milliseconds())})
	}
	if lane.Watch {
		// UNWATCH BEFORE WATCH: where the script has touched what the line watched before, WATCH alone would not help.
		commands = append(commands, []any{"unwatch"}, []any{"watch", &lane.keys[1]})
	}
	lane.commands = commands
	return line.Call(ctx, commands...)
}

// failure is the first error among some answers.
func failure(answers ...any) error {
	for _, answer := range answers {
		if err, ok := answer.(error); ok {
			return err
		}
	}
	return nil
}

// firstKey is where the first key stands in EVALSHA.
const firstKey = 3

// pipeline is the line of a client of go-redis.
type pipeline struct {
	runner *Runner
	lane   *Lane
}

// Call sends the commands to the server of the lane.
func (p pipeline) Call(ctx context.Context, commands ...[]any) ([]any, error) {
	if len(commands) == 1 {
		cmd := redis.NewCmd(ctx, commands[0]...)
		cmd.SetFirstKeyPos(firstKey)
		_ = p.runner.client.Process(ctx, cmd) // the command has the error too
		return answersOf(cmd)
	}
	client, err := p.runner.node(ctx, p.lane.Keys.Tasks())
	if err != nil {
		return nil, err
	}
	sent := make([]*redis.Cmd, len(commands))
	_, _ = client.Pipelined(ctx, func(p redis.Pipeliner) error { // the commands have the errors too
		for i, args := range commands {
			sent[i] = p.Do(ctx, args...)
		}
		return nil
	})
	return answersOf(sent...)
}

// answersOf tells errors of the server, which are answers, from others.
func answersOf(commands ...*redis.Cmd) ([]any, error) {
	answers := make([]any, len(commands))
	for i, cmd := range commands {
		answer, err := cmd.Result()
		if _, ok := errors.AsType[redis.Error](err); ok {
			answer, err = err, nil
		}
		if err != nil {
			return nil, err
		}
		answers[i] = answer
	}
	return answers, nil
}

// node is the client of the one server that holds a key.
func (r *Runner) node(ctx context.Context, key string) (redis.UniversalClient, error) {
	if cluster, ok := r.client.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, key)
	}
	return r.client, nil
}

// encode is the call as a command. It holds until the next one is encoded; what it points to is not copied.
func (l *Lane) encode(how string, src source) []any {
	text := src.sha
	if how == "eval" {
		text = src.text
	}
	l.name()
	var more []string
	l.options = l.options[:0]
	if l.Limit > 0 {
		l.options = strconv.AppendInt(append(l.options, 'l'), l.Limit, 10)
	}
	for i := range l.Tasks {
		if t := &l.Tasks[i]; t.HasOptions() {
			l.options = t.appendOptions(l.options, i+1, len(l.keys)+len(more))
			more = t.appendKeys(l.Keys, more)
		}
	}
	keys := l.keys[:]
	if len(l.options) == 0 {
		keys = keys[:plainKeys]
	}
	if l.before = l.Before; l.before == "" {
		l.before = strconv.FormatInt(l.First-1, 10)
	}
	l.after = strconv.FormatInt(l.First+int64(len(l.Tasks))-1, 10)
	l.ttl = ""
	if l.TTL > 0 {
		l.ttl = strconv.FormatInt(l.TTL.Milliseconds(), 10)
	}
	l.args = append(l.args[:0], how, text, len(keys)+len(more))
	for i := range keys {
		l.args = append(l.args, &keys[i])
	}
	for i := range more {
		l.args = append(l.args, &more[i])
	}
	l.args = append(l.args, &l.before, &l.after, &l.ttl, l.options)
	for i := range l.Tasks {
		l.args = append(l.args, &l.Tasks[i])
	}
	return l.args
}

// name makes the names of the keys, where they are those of another lane.
func (l *Lane) name() {
	if l.named != l.ID || l.named == "" {
		k := l.Keys
		l.named, l.keys = l.ID, [...]string{k.Tasks(), k.Producer(l.ID), k.Counts(), k.Due(), k.Body(), k.Control()}
	}
}

// appendOptions adds what the script is to do with the nth task besides; so many keys come before its own.
func (t *LaneTask) appendOptions(b []byte, n, keys int) []byte {
	b = strconv.AppendInt(append(b, ' '), int64(n), 10)
	if t.After > 0 {
		b = strconv.AppendInt(append(b, 'd'), ceilMilliseconds(t.After), 10)
	} else if t.At > 0 {
		b = strconv.AppendInt(append(b, 'a'), t.At, 10)
	}
	if t.Unique != "" {
		keys++
		b = strconv.AppendInt(append(b, 'u'), int64(keys), 10)
		b = strconv.AppendInt(append(b, ':'), ceilMilliseconds(t.UniqueTTL), 10)
	}
	if t.Keep > 0 {
		keys++
		b = strconv.AppendInt(append(b, 'k'), int64(keys), 10)
		b = strconv.AppendInt(append(b, ':'), ceilMilliseconds(t.Keep), 10)
	}
	return b
}

// appendKeys adds the keys of a task's options, in their order.
func (t *LaneTask) appendKeys(k wire.Keys, more []string) []string {
	if t.Unique != "" {
		more = append(more, k.Unique(t.Unique))
	}
	if t.Keep > 0 {
		more = append(more, k.Reply(string(t.Task[:min(len(t.Task), wire.IDLength)])))
	}
	return more
}

func decodeStored(answer any) (Stored, error) {
	if value, ok := answer.(string); ok {
		return decodeRange(value)
	}
	values, err := list(enqueueScript, answer, 2)
	if err != nil {
		return Stored{}, err
	}
	stored := Stored{Gap: text(values[0]) == "GAP", Value: text(values[1])}
	stored.Last, err = lastOf(stored.Value)
	if stored.Gap || err != nil {
		return stored, err
	}
	stored.places = make([]Place, len(values)-2)
	for i, v := range values[2:] {
		switch s := text(v); {
		case s == "!":
			stored.places[i].Full = true
		case strings.HasPrefix(s, "="):
			stored.places[i].Duplicate = s[1:]
		case s != "@":
			stored.places[i].Entry = s
		}
	}
	return stored, nil
}

// follow notes the first entry, which the others follow.
func (s *Stored) follow(first string) (err error) {
	at := strings.IndexByte(first, '-') + 1
	s.time = first[:at]
	if s.sequence, err = strconv.ParseUint(first[at:], 10, 64); err != nil {
		return fmt.Errorf("script: enqueue: unexpected entry %q", first)
	}
	return nil
}

// decodeRange reads the lane's value where all tasks were just stored.
func decodeRange(value string) (stored Stored, err error) {
	_, entries, _ := strings.Cut(value, " e")
	first, _, ok := strings.Cut(entries, "+")
	stored = Stored{Value: value}
	if err = stored.follow(first); !ok || err != nil {
		return Stored{}, fmt.Errorf("script: enqueue: unexpected answer %q", value)
	}
	stored.Last, err = lastOf(value)
	return stored, err
}

// lastOf is the last number in the value of a lane.
func lastOf(value string) (int64, error) {
	text, _, _ := strings.Cut(value, " ")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("script: enqueue: unexpected value %q of a lane", value)
	}
	return n, nil
}

// ceilMilliseconds rounds up, so that nothing is early and no positive time becomes none.
func ceilMilliseconds(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 { // added before the division, it would overflow for the longest times
		ms++
	}
	return ms
}
