package nemesis

import (
	"time"

	"github.com/athoune/worker-machine/integration/internal/role"
	"github.com/athoune/worker-machine/integration/internal/stage"
)

// target is what a fault hits.
type target int

const (
	anyProcess target = iota
	aWorker
	aClient
	theServer
)

// fault is one kind. What lasts, lasts between two lengths that the dice choose between.
type fault struct {
	kind   string
	target target
	weight int           // how often it is drawn, compared with others
	loses  bool          // acknowledged data may be gone
	within time.Duration // of its end, in which something has to be done again; 0 for no bound
	do     func(hit)
}

// The bounds of recovery: the lease of the workers is a second.
const (
	soon      = 10 * time.Second
	connected = 15 * time.Second
)

// faults are all kinds.
var faults = []fault{
	{"kill a worker", aWorker, 6, false, soon, func(h hit) { h.actor.Kill(); h.replace() }},
	{"terminate a worker", aWorker, 3, false, soon, func(h hit) { h.actor.Terminate(); h.last(0, 300*time.Millisecond); h.replace() }},
	{"freeze a worker beyond its lease", aWorker, 5, false, soon, func(h hit) { h.freeze(1200*time.Millisecond, 3*time.Second) }},
	{"freeze a process", anyProcess, 3, false, soon, func(h hit) { h.freeze(10*time.Millisecond, 800*time.Millisecond) }},
	{"kill a client", aClient, 1, false, soon, func(h hit) { h.actor.Kill(); h.replace() }},

	{"reset connections", anyProcess, 8, false, connected, func(h hit) { h.actor.Link.Reset() }},
	{"refuse connections", anyProcess, 4, false, connected, func(h hit) { h.heal(h.actor.Link.Refuse(), 100*time.Millisecond, 3*time.Second) }},
	{"lose replies", anyProcess, 8, false, connected, func(h hit) { h.cut(stage.Down) }},
	{"lose requests", anyProcess, 4, false, connected, func(h hit) { h.cut(stage.Up) }},
	{"black hole to Redis", anyProcess, 3, false, connected, func(h hit) { h.toxic("timeout", stage.Up, map[string]int{"timeout": 0}, 3*time.Second) }},
	{"black hole from Redis", anyProcess, 3, false, connected, func(h hit) { h.toxic("timeout", stage.Down, map[string]int{"timeout": 0}, 3*time.Second) }},
	{"latency", anyProcess, 3, false, connected, func(h hit) {
		h.toxic("latency", stage.Down, map[string]int{"latency": h.dice[2], "jitter": h.dice[2]}, 3*time.Second)
	}},
	{"slow line", anyProcess, 2, false, connected, func(h hit) { h.toxic("bandwidth", stage.Down, map[string]int{"rate": 1 + h.dice[2]/10}, 3*time.Second) }},
	{"slices", anyProcess, 2, false, connected, func(h hit) {
		h.toxic("slicer", stage.Down, map[string]int{"average_size": 10, "size_variation": 5, "delay": 500}, 2*time.Second)
	}},

	{"freeze the server", theServer, 2, false, connected, func(h hit) {
		h.stage.Machine.Freeze()
		h.last(100*time.Millisecond, 3*time.Second)
		h.stage.Machine.Thaw()
	}},
	{"kill the server", theServer, 2, false, connected, func(h hit) { h.stage.Machine.Kill(); h.last(0, time.Second); h.stage.Machine.Restart() }},
	{"pause clients", theServer, 1, false, connected, func(h hit) { h.command("client", "pause", 100+h.dice[1], "ALL") }},
	{"end connections", theServer, 2, false, connected, func(h hit) { h.command("client", "kill", "type", "normal") }},
	{"end subscriptions", theServer, 2, false, connected, func(h hit) { h.command("client", "kill", "type", "pubsub") }},
	{"forget scripts", theServer, 3, false, connected, func(h hit) { h.command("script", "flush") }},
	{"memory is full", theServer, 1, false, connected, func(h hit) {
		h.command("config", "set", "maxmemory", "1mb")
		h.last(100*time.Millisecond, 2*time.Second)
		h.command("config", "set", "maxmemory", "0")
	}},
	{"destroy the group", theServer, 2, false, connected, func(h hit) { h.command("xgroup", "destroy", h.tasks(), h.stage.Store().Group()) }},
	{"set the group back", theServer, 1, false, connected, func(h hit) { h.command("xgroup", "setid", h.tasks(), h.stage.Store().Group(), "0") }},
	{"delete a consumer", theServer, 4, false, connected, hit.deleteConsumer},

	{"flush", theServer, 1, true, connected, func(h hit) { h.command("flush" + "all") }},
	{"remove an entry", theServer, 3, true, connected, hit.removeEntry},
	{"trim the stream", theServer, 1, true, connected, func(h hit) { h.command("xtrim", h.tasks(), "maxlen", 0) }},
}

func (h hit) tasks() string { return h.stage.Store().Keys(role.Queue).Tasks() }

func (h hit) freeze(least, most time.Duration) {
	h.actor.Freeze()
	h.last(least, most)
	h.actor.Thaw()
}

func (h hit) heal(heal func(), least, most time.Duration) {
	h.last(least, most)
	heal()
}

func (h hit) toxic(kind, direction string, attributes map[string]int, most time.Duration) {
	h.heal(h.actor.Link.Toxic(kind, direction, attributes), 100*time.Millisecond, most)
}

// cut ends each connection after some more bytes, in the middle of whatever they are.
func (h hit) cut(direction string) {
	h.toxic("limit_data", direction, map[string]int{"bytes": 1 + h.dice[2]*4}, 500*time.Millisecond)
}

// deleteConsumer does what an operator might: what the consumer has pending is in no list any more.
func (h hit) deleteConsumer() {
	group := h.stage.Store().Group()
	consumers := h.stage.Direct.XInfoConsumers(h.t.Context(), h.tasks(), group).Val()
	if len(consumers) > 0 {
		h.command("xgroup", "delconsumer", h.tasks(), group, consumers[h.dice[1]%len(consumers)].Name)
	}
}

// removeEntry deletes one entry of the stream, which may be running.
func (h hit) removeEntry() {
	entries := h.stage.Direct.XRangeN(h.t.Context(), h.tasks(), "-", "+", int64(1+h.dice[1]/50)).Val()
	if len(entries) > 0 {
		h.command("xdel", h.tasks(), entries[len(entries)-1].ID)
	}
}
