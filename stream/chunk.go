package stream

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// AppendItem adds the payload of the next item to that of a chunk: a [Task] whose Items says how many there are. A worker runs each
// as a task, with the ID of the chunk plus its number.
func AppendItem(pack, payload []byte) []byte { return wire.AppendItem(pack, payload) }

// newSent notes an order. The payload of a chunk is kept once, and large enough for that to count.
func newSent(o *order) *sent {
	p := &sent{task: o.task, order: o.laneTask(), size: o.size(), at: time.Now(), left: o.task.Items}
	if p.left > 0 {
		p.task.Payload = nil
	}
	return p
}

// takePack notes what became of items of a chunk: the first outcome of each counts. mu is held.
func (s *Session) takePack(p *sent, o Outcome) {
	if o.Kind != wire.KindPack {
		o = failItems(p, &o)
	}
	if o.Pack.Items != p.task.Items {
		s.client.store.logger.Warn("skip a pack of another number of items than the chunk", zap.String("queue", s.queue), zap.String("chunk", o.TaskID))
		return
	}
	if !o.Pack.Mixed() && p.left == p.task.Items {
		delete(s.pending, o.TaskID)
		s.ready = append(s.ready, o)
		return
	}
	news, moved := p.take(o.Pack)
	s.moveItems(p, moved)
	if p.left == 0 {
		delete(s.pending, o.TaskID)
	}
	if news == nil {
		return
	}
	if o, err := wire.DecodeOutcome(o.TaskID, string(news.Text())); err == nil { // it always is
		s.ready = append(s.ready, o)
	}
}

// take notes of which items a pack tells. It returns a pack of those that are new, nil for none, and which were moved.
func (p *sent) take(pack *wire.Pack) (news *wire.PackWriter, moved []int) {
	if p.left == p.task.Items {
		p.taken = wire.NewItemSet(p.task.Items)
	}
	news = wire.NewPackWriter(p.task.Items, pack.Each, true, pack.Size())
	fresh := false
	for i := range p.task.Items {
		kind, data, _ := pack.Next()
		switch {
		case kind == wire.KindNone || p.taken.Has(i):
			news.Add(wire.KindNone, nil)
			continue
		case kind == wire.KindMoved:
			moved = append(moved, i)
			news.Add(wire.KindNone, nil)
		default:
			fresh = true
			news.Add(kind, data)
		}
		p.taken.Add(i)
		p.left--
	}
	if !fresh {
		news = nil
	}
	return news, moved
}

// failItems makes a pack of an outcome of a whole chunk: all its items have failed with it.
func failItems(p *sent, o *Outcome) Outcome {
	failure := o.Failure
	if o.Kind != wire.KindFailure {
		failure = wire.Failure{
			Function: p.task.Function, Attempt: p.task.Attempt, Reason: wire.ReasonMalformed, Message: "a worker that does not know chunks has run one",
		}
	}
	w, text := wire.NewPackWriter(p.task.Items, 0, true, 0), failure.Encode()
	for range p.task.Items {
		w.Add(wire.KindFailure, text)
	}
	all, err := wire.DecodeOutcome(o.TaskID, string(w.Text()))
	if err != nil {
		panic(fmt.Sprintf("stream: pack the failures of chunk %s: %v", o.TaskID, err))
	}
	return all
}

// moveItems waits for items of a chunk that have become tasks of their own. Where they are follows in the reply stream. mu is held.
func (s *Session) moveItems(p *sent, moved []int) {
	if len(moved) == 0 {
		return
	}
	chunk, err := wire.DecodeValue(p.order.Task)
	var payloads [][]byte
	if err == nil {
		payloads, err = chunk.SplitItems()
	}
	if err != nil { // the worker has read the same
		s.client.store.logger.Error("cannot take a chunk apart", zap.String("queue", s.queue), zap.String("chunk", p.task.ID), zap.Error(err))
		return
	}
	lane := p.lane
	if lane == "" { // the answer that the chunk is stored is still on its way
		lane, _ = s.lane.acked()
	}
	for _, i := range moved {
		task := chunk.Item(i, payloads[i])
		o := order{task: task}
		s.pending[task.ID] = &sent{task: task, order: script.LaneTask{Task: task.Encode()}, size: o.size(), at: time.Now(), lane: lane}
	}
}

// told is of how many tasks an outcome tells.
func told(o *Outcome) int {
	if o.Kind != wire.KindPack {
		return 1
	}
	n, pack := 0, *o.Pack
	for kind, _, ok := pack.Next(); ok; kind, _, ok = pack.Next() {
		if kind != wire.KindNone {
			n++
		}
	}
	return n
}
