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

// Lane is one call of enqueue: tasks of one producer lane, numbered from First without a gap.
type Lane struct {
	Keys     wire.Keys
	ID       string        // names the lane's key
	First    int64         // number of the first task; a lane starts at 1
	TTL      time.Duration // how long the lane's key lives without use
	Limit    int64         // most tasks in the queue, waiting, running and delayed; 0 is no limit
	Tasks    []LaneTask
	Replicas int           // wait until so many replicas have it; 0 does not wait
	Wait     time.Duration // for how long at most
}

// LaneTask is one task of a [Lane].
type LaneTask struct {
	Task      []byte        // as [wire.Task.Encode] has it, marked as promoted where it is due later
	After     time.Duration // due so long from now
	At        int64         // due at this Unix time in ms; After wins
	Unique    string        // hash of the uniqueness key, "" for none
	UniqueTTL time.Duration
}

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
	Gap      bool  // Redis has lost what was stored before: nothing of this call is stored
	Last     int64 // the lane's last number
	Places   []Place
	Replicas int // how many replicas have it
}

// Enqueue stores tasks. A repeated call skips what an earlier try stored, so it may be retried for ever.
func (r *Runner) Enqueue(ctx context.Context, lane Lane) (Stored, error) {
	keys, args := lane.encode()
	if lane.Replicas == 0 {
		answer, err := r.run(ctx, enqueueScript, keys, args)
		if err != nil {
			return Stored{}, err
		}
		return decodeStored(answer)
	}
	client, err := r.node(ctx, lane.Keys.Tasks())
	if err != nil {
		return Stored{}, fmt.Errorf("script: enqueue: %w", err)
	}
	return r.enqueueReplicated(ctx, client, lane, keys, args)
}

// enqueueReplicated sends the script and WAIT in one write: WAIT speaks only of what its own connection wrote.
func (r *Runner) enqueueReplicated(ctx context.Context, client redis.UniversalClient, lane Lane, keys []string, args []any) (Stored, error) {
	if err := r.probe(ctx); err != nil {
		return Stored{}, fmt.Errorf("script: enqueue: %w", err)
	}
	src := r.source(enqueueScript)
	var script *redis.Cmd
	var wait *redis.Cmd
	for _, known := range []bool{true, false} {
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			if known {
				script = p.EvalSha(ctx, src.sha, keys, args...)
			} else {
				script = p.Eval(ctx, src.text, keys, args...)
			}
			wait = p.Do(ctx, "wait", lane.Replicas, lane.Wait.Milliseconds())
			return nil
		})
		if known && redis.HasErrorPrefix(script.Err(), "NOSCRIPT") {
			continue
		}
		if script.Err() != nil || err != nil {
			return Stored{}, fmt.Errorf("script: enqueue: %w", err)
		}
		break
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

func (l *Lane) encode() (keys []string, args []any) {
	k := l.Keys
	keys = []string{k.Tasks(), k.Producer(l.ID), k.Due(), k.Body(), k.Counts(), k.Control()}
	args = make([]any, 0, 3+2*len(l.Tasks))
	args = append(args, l.First, l.TTL.Milliseconds(), l.Limit)
	for i := range l.Tasks {
		t := &l.Tasks[i]
		options := ""
		if t.After > 0 {
			options = "d" + strconv.FormatInt(ceilMilliseconds(t.After), 10)
		} else if t.At > 0 {
			options = "a" + strconv.FormatInt(t.At, 10)
		}
		if t.Unique != "" {
			keys = append(keys, k.Unique(t.Unique))
			options += "u" + strconv.Itoa(len(keys)) + ":" + strconv.FormatInt(ceilMilliseconds(t.UniqueTTL), 10)
		}
		args = append(args, options, t.Task)
	}
	return keys, args
}

func decodeStored(answer any) (Stored, error) {
	values, err := list(enqueueScript, answer, 2)
	if err != nil {
		return Stored{}, err
	}
	stored := Stored{Gap: text(values[0]) == "GAP", Last: int64(number(values[1]))}
	if stored.Gap {
		return stored, nil
	}
	stored.Places = make([]Place, len(values)-2)
	for i, v := range values[2:] {
		switch s := text(v); {
		case s == "!":
			stored.Places[i].Full = true
		case strings.HasPrefix(s, "="):
			stored.Places[i].Duplicate = s[1:]
		case s != "@":
			stored.Places[i].Entry = s
		}
	}
	return stored, nil
}

// ceilMilliseconds rounds up, so that nothing is early and no positive time becomes none.
func ceilMilliseconds(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 { // added before the division, it would overflow for the longest times
		ms++
	}
	return ms
}
