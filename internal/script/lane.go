package script

import (
	"context"
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

	args    []any
	named   string // the ID that the keys are of
	keys    [plainKeys + moreKeys]string
	before  string
	after   string
	ttl     string
	options []byte
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
}

// MarshalBinary is how the library asks for an argument; a pointer to a task costs no allocation.
func (t *LaneTask) MarshalBinary() ([]byte, error) { return t.Task, nil }

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

	places   []Place // nil when all were just stored
	time     string  // of the first entry, with the '-'
	sequence uint64  // of the first entry; the others follow it
}

// Place is what became of the ith task of the call, from 0.
func (s *Stored) Place(i int) Place {
	if s.places != nil {
		return s.places[i]
	}
	return Place{Entry: s.time + strconv.FormatUint(s.sequence+uint64(i), 10)} //nolint:gosec // an index
}

// Enqueue stores tasks. A repeated call skips what an earlier try stored, so it may be retried for ever.
func (r *Runner) Enqueue(ctx context.Context, lane *Lane) (Stored, error) {
	if lane.Replicas > 0 {
		return r.enqueueReplicated(ctx, lane)
	}
	answer, err := r.enqueue(ctx, lane, "evalsha")
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err = r.probe(ctx); err == nil {
			answer, err = r.enqueue(ctx, lane, "eval")
		}
	}
	if err != nil {
		return Stored{}, fmt.Errorf("script: enqueue: %w", err)
	}
	return decodeStored(answer)
}

func (r *Runner) enqueue(ctx context.Context, lane *Lane, how string) (any, error) {
	cmd := redis.NewCmd(ctx, lane.encode(how, r.source(enqueueScript))...)
	cmd.SetFirstKeyPos(firstKey)
	_ = r.client.Process(ctx, cmd) // the command has the error too
	return cmd.Result()
}

// firstKey is where the first key stands in EVALSHA.
const firstKey = 3

// enqueueReplicated sends the script and WAIT in one write: WAIT speaks only of what its own connection wrote.
func (r *Runner) enqueueReplicated(ctx context.Context, lane *Lane) (Stored, error) {
	client, err := r.node(ctx, lane.Keys.Tasks())
	if err == nil {
		err = r.probe(ctx)
	}
	if err != nil {
		return Stored{}, fmt.Errorf("script: enqueue: %w", err)
	}
	var script, wait *redis.Cmd
	for _, how := range []string{"evalsha", "eval"} {
		_, err = client.Pipelined(ctx, func(p redis.Pipeliner) error {
			script = p.Do(ctx, lane.encode(how, r.source(enqueueScript))...)
			wait = p.Do(ctx, "wait", lane.Replicas, lane.Wait.Milliseconds())
			return nil
		})
		if !redis.HasErrorPrefix(script.Err(), "NOSCRIPT") {
			break
		}
	}
	if script.Err() != nil || err != nil {
		return Stored{}, fmt.Errorf("script: enqueue: %w", err)
	}
	stored, err := decodeStored(script.Val())
	stored.Replicas = number(wait.Val())
	return stored, err
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
	var unique []string
	l.options = l.options[:0]
	if l.Limit > 0 {
		l.options = strconv.AppendInt(append(l.options, 'l'), l.Limit, 10)
	}
	for i := range l.Tasks {
		if t := &l.Tasks[i]; t.Delayed() || t.Unique != "" {
			l.options, unique = t.appendOptions(l.options, i+1, len(l.keys), unique), t.appendKey(l.Keys, unique)
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
	l.args = append(l.args[:0], how, text, len(keys)+len(unique))
	for i := range keys {
		l.args = append(l.args, &keys[i])
	}
	for i := range unique {
		l.args = append(l.args, &unique[i])
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

// appendOptions adds what the script is to do with the nth task besides; keys come before those of locks.
func (t *LaneTask) appendOptions(b []byte, n, keys int, locks []string) []byte {
	b = strconv.AppendInt(append(b, ' '), int64(n), 10)
	if t.After > 0 {
		b = strconv.AppendInt(append(b, 'd'), ceilMilliseconds(t.After), 10)
	} else if t.At > 0 {
		b = strconv.AppendInt(append(b, 'a'), t.At, 10)
	}
	if t.Unique == "" {
		return b
	}
	b = strconv.AppendInt(append(b, 'u'), int64(keys+len(locks)+1), 10)
	return strconv.AppendInt(append(b, ':'), ceilMilliseconds(t.UniqueTTL), 10)
}

func (t *LaneTask) appendKey(k wire.Keys, locks []string) []string {
	if t.Unique == "" {
		return locks
	}
	return append(locks, k.Unique(t.Unique))
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

// decodeRange reads the lane's value where all tasks were just stored.
func decodeRange(value string) (stored Stored, err error) {
	_, entries, _ := strings.Cut(value, " e")
	first, _, ok := strings.Cut(entries, "+")
	at := strings.IndexByte(first, '-') + 1
	stored = Stored{Value: value, time: first[:at]}
	stored.sequence, err = strconv.ParseUint(first[at:], 10, 64)
	if !ok || err != nil {
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
