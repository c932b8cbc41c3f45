package group

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// mux holds the handlers of a worker by function name. Once sealed it does not change, and is read without a lock.
type mux struct {
	mu       sync.Mutex
	sealed   bool
	handlers map[string]Handler
	queues   []Queue // of typed functions, in the order they came
	errs     []error
}

// Handle makes a worker call handler for tasks of fn. A worker may handle functions of queues it does not read. Handle everything
// before Run: Run returns what is wrong, such as a function that is handled twice.
//
// The payload is decoded with the codec of fn; one that it does not take makes the task a dead letter, since trying again would
// not help. For what the error of handler decides see [Drop], [RetryAfter] and [Snooze].
func Handle[In, Out any](w *Worker, fn stream.Func[In, Out], handler func(ctx context.Context, in In) (Out, error)) {
	if handler == nil {
		w.mux.handle(fn.Name, nil)
		return
	}
	w.mux.handle(fn.Name, func(ctx context.Context, task Task) ([]byte, error) {
		in, err := fn.DecodeIn(task.Payload)
		if err != nil {
			return nil, &payloadError{fmt.Errorf("group: the payload is not what %s takes: %w", fn.Name, err)}
		}
		out, err := handler(ctx, in)
		if err != nil {
			return nil, err
		}
		data, err := fn.EncodeOut(out)
		if err != nil {
			return nil, Drop(fmt.Errorf("group: encode the result of %s: %w", fn.Name, err))
		}
		return data, nil
	})
	w.mux.serve(cmp.Or(fn.Queue, stream.DefaultQueue))
}

// HandleRaw makes a worker call handler for tasks of a function by its name, with payload and result as they are on the wire.
func HandleRaw(w *Worker, function string, handler Handler) {
	w.mux.handle(function, handler)
}

func (m *mux) handle(function string, handler Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := wire.CheckName("function", function)
	switch {
	case err != nil:
		m.errs = append(m.errs, fmt.Errorf("group: handle: %w", err))
	case handler == nil:
		m.errs = append(m.errs, fmt.Errorf("group: handle %s: the handler is nil", function))
	case m.handlers[function] != nil:
		m.errs = append(m.errs, fmt.Errorf("group: handle %s: it has a handler already", function))
	case m.sealed:
		m.errs = append(m.errs, fmt.Errorf("group: handle %s: the worker runs already", function))
	default:
		if m.handlers == nil {
			m.handlers = map[string]Handler{}
		}
		m.handlers[function] = handler
	}
}

func (m *mux) refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.errs = append(m.errs, err)
}

// serve notes a queue that is read when the configuration names none.
func (m *mux) serve(queue string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.queues {
		if q.Name == queue {
			return
		}
	}
	m.queues = append(m.queues, Queue{Name: queue})
}

// seal puts the middleware around all handlers, and reports everything that went wrong with them.
func (m *mux) seal(around []Middleware) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sealed = true
	for name, handler := range m.handlers {
		for i := len(around) - 1; i >= 0; i-- {
			handler = around[i](handler)
		}
		m.handlers[name] = handler
	}
	if len(m.handlers) == 0 && len(m.errs) == 0 {
		m.errs = append(m.errs, errors.New("group: the worker has no handler: call Handle before Run"))
	}
	return errors.Join(m.errs...)
}
