package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/athoune/worker-machine/internal/script"
)

// DefaultQueue is the queue of a [Func] that names none.
const DefaultQueue = "default"

// Func names a function that workers register and clients call. Both sides share the value; it holds no code.
type Func[In, Out any] struct {
	Name        string        // letters, digits, '.', '_', '-'; what a worker registers
	Queue       string        // default "default"
	Codec       Codec         // default [JSON]
	MaxAttempts int           // default: the worker's
	Timeout     time.Duration // of one attempt; default: the worker's
}

// Enqueue stores a task and returns its ID once Redis has it: fire and forget. However often it is retried inside, the task is
// stored once. An error that is [ErrUnknownOutcome] means that the task may be stored, any other that it is not, but for
// [ErrDuplicate], where the ID is that of the earlier task, and [ErrNotReplicated].
func (f Func[In, Out]) Enqueue(ctx context.Context, c *Client, in In, options ...Option) (id string, err error) {
	e, _ := c.enqueues.Get().(*enqueue)
	if e == nil {
		e = new(enqueue)
	}
	switch err = f.fill(&e.order, c, in, options); {
	case err != nil:
	case c.store.hooks.Sending == nil:
		id, err = e.store(ctx, c, f.queue())
	default:
		done := f.sending(ctx, c, "enqueue", &e.order)
		id, err = e.store(ctx, c, f.queue())
		done(err)
	}
	e.free(c)
	return id, f.wrap("enqueue", err)
}

// enqueue is one Enqueue. It is used again for others: together these are a good part of the memory that a client of small tasks takes.
type enqueue struct {
	order  order
	ticket ticket
	text   []byte // of the task
}

func (e *enqueue) store(ctx context.Context, c *Client, queue string) (id string, err error) {
	o, t := &e.order, &e.ticket
	l, err := c.lane(queue)
	if err != nil {
		return "", err
	}
	*t = ticket{size: o.size(), replicas: o.replicas, forget: true, done: t.done}
	t.one[0], e.text = o.appendTask(slices.Grow(e.text[:0], t.size))
	t.tasks = t.one[:]
	if err = l.store(ctx, t); err != nil {
		return "", err
	}
	return o.outcome(t)
}

// free lets another Enqueue of the client have it, unless its task may still be on its way.
func (e *enqueue) free(c *Client) {
	const most = 16 << 10 // bytes
	if e.ticket.left {
		return
	}
	e.order, e.ticket = order{}, ticket{done: e.ticket.done}
	if cap(e.text) > most {
		e.text = nil
	}
	c.enqueues.Put(e)
}

// outcome is what became of an order that is alone in its ticket.
func (o *order) outcome(t *ticket) (id string, err error) {
	var place script.Place
	if !t.stored.All() {
		place = t.place(0)
	}
	switch {
	case place.Full:
		return "", ErrQueueFull
	case place.Duplicate != "":
		return place.Duplicate, fmt.Errorf("%w: task %s", ErrDuplicate, place.Duplicate)
	case t.stored.Replicas < o.replicas:
		return o.task.ID, fmt.Errorf("%w: %d of %d", ErrNotReplicated, t.stored.Replicas, o.replicas)
	default:
		return o.task.ID, nil
	}
}

// Task makes a task that [Session.Send] takes. Options that say when or whether it is stored do not fit it: After, At, Unique, Idempotent, Keep, Replicas.
func (f Func[In, Out]) Task(c *Client, in In, options ...Option) (Task, error) {
	o, err := f.order(c, in, options)
	if err == nil && (o.after != 0 || !o.at.IsZero() || o.task.Unique+o.once != "" || o.replicas != 0 || o.keep != 0) {
		err = errors.New("options After, At, Unique, Idempotent, Keep and Replicas do not fit a task whose outcome is awaited: enqueue it instead")
	}
	if err != nil {
		return Task{}, f.wrap("make task", err)
	}
	return o.task, nil
}

// Payload encodes an input as the payload of a task, and checks its size.
func (f Func[In, Out]) Payload(c *Client, in In) ([]byte, error) {
	payload, err := f.EncodeIn(in)
	if err == nil && len(payload) > c.cfg.MaxPayload {
		err = fmt.Errorf("%w: %d bytes, and ClientConfig.MaxPayload is %d: store it elsewhere and pass where it is", ErrPayloadTooLarge, len(payload), c.cfg.MaxPayload)
	}
	if err != nil {
		return nil, f.wrap("make task", err)
	}
	return payload, nil
}

// order encodes an input and applies the options.
func (f Func[In, Out]) order(c *Client, in In, options []Option) (*order, error) {
	o := new(order)
	if err := f.fill(o, c, in, options); err != nil {
		return nil, err
	}
	return o, nil
}

// fill makes an order, in the place of whatever it was.
func (f Func[In, Out]) fill(o *order, c *Client, in In, options []Option) error {
	payload, err := f.EncodeIn(in)
	if err != nil {
		return err
	}
	if len(payload) > c.cfg.MaxPayload {
		return fmt.Errorf("%w: %d bytes, and ClientConfig.MaxPayload is %d: store it elsewhere and pass where it is", ErrPayloadTooLarge, len(payload), c.cfg.MaxPayload)
	}
	*o = order{task: Task{ID: NewID(), Function: f.Name, Attempt: 1, MaxAttempts: f.MaxAttempts, Timeout: f.Timeout, Payload: payload}}
	if err = o.apply(options); err != nil {
		return err
	}
	return o.task.Check()
}

func (f Func[In, Out]) queue() string { return orDefault(f.Queue, DefaultQueue) }

func (f Func[In, Out]) wrap(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("stream: %s %s: %w", verb, f.Name, err)
}

// EncodeIn encodes an input with the function's codec.
func (f Func[In, Out]) EncodeIn(in In) ([]byte, error) { return encode(f.Codec, in, "input") }

// DecodeIn decodes an input with the function's codec.
func (f Func[In, Out]) DecodeIn(data []byte) (In, error) { return decode[In](f.Codec, data, "input") }

// EncodeOut encodes a result with the function's codec.
func (f Func[In, Out]) EncodeOut(out Out) ([]byte, error) { return encode(f.Codec, out, "result") }

// DecodeOut decodes a result with the function's codec.
func (f Func[In, Out]) DecodeOut(data []byte) (Out, error) {
	return decode[Out](f.Codec, data, "result")
}

// encode passes bytes under the raw codec without an interface around them, which would be allocated.
func encode[T any](codec Codec, value T, what string) ([]byte, error) {
	if _, raw := codec.(rawCodec); raw { // a comparison with Raw takes longer
		if data, ok := any(value).([]byte); ok {
			return data, nil
		}
	}
	return encodeAny(codec, value, what)
}

func encodeAny[T any](codec Codec, value T, what string) ([]byte, error) {
	data, err := orJSON(codec).Encode(value)
	if err != nil {
		return nil, fmt.Errorf("encode %s %T: %w", what, value, err)
	}
	return data, nil
}

func decode[T any](codec Codec, data []byte, what string) (value T, err error) {
	if _, raw := codec.(rawCodec); raw {
		if bytes, ok := any(&value).(*[]byte); ok {
			*bytes = data
			return value, nil
		}
	}
	return decodeAny[T](codec, data, what)
}

func decodeAny[T any](codec Codec, data []byte, what string) (value T, err error) {
	if err = orJSON(codec).Decode(data, &value); err != nil {
		err = fmt.Errorf("decode %s %T: %w", what, value, err)
	}
	return value, err
}

func orJSON(codec Codec) Codec {
	if codec == nil {
		return JSON
	}
	return codec
}
