package stream

import (
	"context"
	"maps"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// Hooks are called as things happen; nil ones are skipped and cost nothing. They run on the goroutines of callers and loops, so they must
// be quick, must not block, and are called by many goroutines at a time. None is given a payload.
type Hooks struct {
	// Script is called when Redis has answered a call of a script, or has not: the name of the script ("append" is the transaction that
	// stores plain tasks), how long it took, and its error.
	Script func(name string, took time.Duration, err error)
	// Stored is called with the number of tasks of one round trip that stored them; a chunk counts once.
	Stored func(queue string, tasks int)
	// Sending is called before tasks are sent, once for each call. The headers that it returns go into the tasks, but those that a task
	// has already stay; done is called when the call has ended. Either may be nil.
	Sending func(ctx context.Context, s Sending) (headers map[string]string, done func(error))
}

// Sending is a call that sends tasks.
type Sending struct {
	Verb     string // "enqueue", "enqueue all", "call", "map", "submit"
	Queue    string
	Function string // of a run the name of the job
	TaskID   string // "" where there are many
}

// JoinHooks calls all of some hooks, in their order.
func JoinHooks(all ...Hooks) Hooks {
	var joined Hooks
	for _, h := range all {
		joined.Script = join3(joined.Script, h.Script)
		joined.Stored = join2(joined.Stored, h.Stored)
		joined.Sending = joinSending(joined.Sending, h.Sending)
	}
	return joined
}

func join2[A, B any](first, second func(A, B)) func(A, B) {
	if first == nil || second == nil {
		return orOther(first, second, first == nil)
	}
	return func(a A, b B) {
		first(a, b)
		second(a, b)
	}
}

func join3[A, B, C any](first, second func(A, B, C)) func(A, B, C) {
	if first == nil || second == nil {
		return orOther(first, second, first == nil)
	}
	return func(a A, b B, c C) {
		first(a, b, c)
		second(a, b, c)
	}
}

func orOther[F any](first, second F, other bool) F {
	if other {
		return second
	}
	return first
}

type sendingHook = func(context.Context, Sending) (map[string]string, func(error))

func joinSending(first, second sendingHook) sendingHook {
	if first == nil || second == nil {
		return orOther(first, second, first == nil)
	}
	return func(ctx context.Context, s Sending) (map[string]string, func(error)) {
		headers, done := first(ctx, s)
		more, also := second(ctx, s)
		all := make(map[string]string, len(headers)+len(more))
		maps.Copy(all, more)
		maps.Copy(all, headers)
		return all, func(err error) {
			for _, end := range []func(error){also, done} {
				if end != nil {
					end(err)
				}
			}
		}
	}
}

// Sending calls the hook of that name; it is for the packages of this module. Headers of a wrong name are left out, done is never nil.
func (c *Client) Sending(ctx context.Context, s Sending) (headers map[string]string, done func(error)) {
	if hook := c.store.hooks.Sending; hook != nil {
		headers, done = hook(ctx, s)
		maps.DeleteFunc(headers, func(name, _ string) bool { return wire.CheckName("header", name) != nil })
	}
	if done == nil {
		done = func(error) {}
	}
	return headers, done
}

// addHeaders adds those that the task does not have.
func (o *order) addHeaders(headers map[string]string) {
	if len(headers) == 0 {
		return
	}
	all := maps.Clone(headers)
	maps.Copy(all, o.task.Headers)
	o.task.Headers = all
}

// sending gives an order what the hook wants.
func (f Func[In, Out]) sending(ctx context.Context, c *Client, verb string, o *order) (done func(error)) {
	headers, done := c.Sending(ctx, Sending{Verb: verb, Queue: f.queue(), Function: f.Name, TaskID: o.task.ID})
	o.addHeaders(headers)
	return done
}
