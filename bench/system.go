package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"time"
)

// queueName is the queue, stream, topic or subject of every system. Each run has a server of its own.
const queueName = "bench"

// queue is a connection of one process to a system's queue.
type queue interface {
	// Enqueue returns once the server has the task. It is called by many goroutines at a time.
	Enqueue(ctx context.Context, payload []byte) error
	// Work runs handle for tasks, until ctx is done.
	Work(ctx context.Context, o workOptions, handle func(payload []byte)) error
	// Left is how many tasks are waiting, delayed or running.
	Left(ctx context.Context) (int64, error)
	Close() error
}

// workOptions are what differs between rows.
type workOptions struct {
	Concurrency int  // handlers at a time
	Workers     int  // in one process, each with a connection of its own; default 1
	Queues      int  // that each of them reads; default 1
	Few         bool // for the floor: read few tasks at a time, since they are long
	Reclaim     bool // for the floor: take over what dead consumers hold
	Delayed     bool // for the floor: move due tasks
}

// batcher is a queue that takes many tasks in one call.
type batcher interface {
	EnqueueBatch(ctx context.Context, payloads [][]byte) error
}

// delayer is a queue that takes tasks for later.
type delayer interface {
	EnqueueAfter(ctx context.Context, payload []byte, after time.Duration) error
}

// spreader is a system that can use many queues at a time. Spread comes before anything else.
type spreader interface {
	Spread(queues int)
	EnqueueTo(ctx context.Context, queue int, payload []byte) error
}

// caller is a system whose workers answer with what they were given. Each goroutine has a number of its own, from 0.
type caller interface {
	Call(ctx context.Context, who int, payload []byte) ([]byte, error)
}

// mapper is a system that sends many inputs to its workers and brings back what they answer, once each.
type mapper interface {
	Map(ctx context.Context, inputs iter.Seq[[]byte], result func([]byte)) error
}

// queueNamed is the name of one of many queues.
func queueNamed(i int) string {
	if i == 0 {
		return queueName
	}
	return fmt.Sprintf("%s-%d", queueName, i)
}

// system is one of those that are compared.
type system struct {
	name     string
	about    string            // what is measured, in a few words
	backend  backend           // what it stores tasks in
	scale    float64           // tasks of a run, as a share of those of the floor
	slowKill bool              // it takes minutes to notice that a worker died
	lacks    map[string]string // rows it has nothing for, and why
	missing  func() string     // why it cannot run here, "" if it can
	open     func(ctx context.Context, address string) (queue, error)
	prepare  func(ctx context.Context, address string) error // once for a new server; may be nil
}

// floorName is the system that all others are compared with.
const floorName = "floor"

const oursName = "ours"

// systems are all there are; the floor is the first.
func systems() []system {
	return []system{
		{name: floorName, about: "go-redis alone", backend: redisBackend, scale: 1, open: openFloor},
		{name: oursName, about: "worker-machine", backend: redisBackend, scale: 1, open: openOurs},
		{name: "asynq", about: "asynq", backend: redisBackend, scale: 0.1, open: openAsynq, slowKill: true, lacks: map[string]string{
			"batches": "has none",
		}},
		{name: "watermill", about: "watermill-redisstream", backend: redisBackend, scale: 0.1, open: openWatermill, slowKill: true, lacks: map[string]string{
			"delayed": "has none",
		}},
		{name: "nats", about: "NATS JetStream, memory storage, TCP", backend: natsBackend, scale: 0.5, open: openNATS, slowKill: true, lacks: map[string]string{
			"delayed": "has none that a server of Debian knows",
		}},
		{
			name: "river", about: "River on PostgreSQL, synchronous_commit off", backend: postgresBackend, scale: 0.05, slowKill: true,
			missing: postgresMissing, lacks: map[string]string{killRow: "takes an hour by default"}, open: openRiver, prepare: migrateRiver,
		},
	}
}

func systemNamed(name string) (system, error) {
	for _, s := range systems() {
		if s.name == name {
			return s, nil
		}
	}
	return system{}, fmt.Errorf("no system is called %q", name)
}

// minPayload holds what the harness itself writes into a payload.
const minPayload = 16

// newPayload makes a payload of a task: its number, a time, and filling.
func newPayload(size int, index uint64, at time.Time) []byte {
	payload := make([]byte, max(size, minPayload))
	binary.LittleEndian.PutUint64(payload, index)
	binary.LittleEndian.PutUint64(payload[8:], uint64(at.UnixNano()))
	for i := minPayload; i < len(payload); i++ {
		payload[i] = byte('a' + i%26)
	}
	return payload
}

// readPayload finds the number and the time of a task.
func readPayload(payload []byte) (index uint64, at int64, ok bool) {
	if len(payload) < minPayload {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(payload), int64(binary.LittleEndian.Uint64(payload[8:])), true
}
