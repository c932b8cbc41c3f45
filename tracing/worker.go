package tracing

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/athoune/worker-machine/group"
)

// Config is a worker's configuration with these spans: the middleware goes outside of the others, the hooks before the others.
func (t *Tracer) Config(cfg group.Config) group.Config {
	if t == nil {
		return cfg
	}
	cfg.Middleware = append([]group.Middleware{t.Middleware}, cfg.Middleware...)
	cfg.Hooks = group.JoinHooks(t.WorkerHooks(), cfg.Hooks)
	return cfg
}

// Middleware makes the spans of waiting and running. Handlers find the span, and the baggage, in their context.
func (t *Tracer) Middleware(next group.Handler) group.Handler {
	if t == nil {
		return next
	}
	return func(ctx context.Context, task group.Task) ([]byte, error) {
		m := &task.Metadata
		ctx, span := t.start(ctx, m)
		done := false
		defer func() {
			if !done { // it panics, or ends its goroutine
				span.SetStatus(codes.Error, "panic")
				span.End()
			}
			if span.IsRecording() || span.SpanContext().IsSampled() {
				t.ends.add(m.ID, span.SpanContext())
			}
		}()
		result, err := next(ctx, task)
		done = true
		finish(span, err)
		return result, err
	}
}

// start begins the span of an attempt, and makes that of its wait.
func (t *Tracer) start(ctx context.Context, m *group.Metadata) (context.Context, trace.Span) {
	waited, now := group.Waited(ctx), time.Now()
	ctx = t.fields.Extract(ctx, propagation.MapCarrier(m.Headers))
	attributes := trace.WithAttributes(append(attributesOf(m.Queue, m.Function, m.ID, "process"), attribute.Int("worker_machine.attempt", m.Attempt))...)
	kind := trace.WithSpanKind(trace.SpanKindConsumer)
	sender := trace.SpanContextFromContext(ctx)
	wait := func(ctx context.Context) {
		_, span := t.tracer.Start(ctx, "wait "+m.Function, trace.WithTimestamp(now.Add(-waited)), attributes)
		span.End(trace.WithTimestamp(now))
	}
	if sender.IsValid() && m.Headers[headerLink] == "" {
		wait(ctx)
		return t.tracer.Start(ctx, "run "+m.Function, trace.WithTimestamp(now), kind, attributes)
	}
	ctx, span := t.tracer.Start(ctx, "run "+m.Function, trace.WithTimestamp(now), kind, attributes, trace.WithNewRoot(), linkTo(sender))
	wait(ctx)
	return ctx, span
}

func linkTo(sender trace.SpanContext) trace.SpanStartOption {
	if !sender.IsValid() {
		return trace.WithLinks()
	}
	return trace.WithLinks(trace.Link{SpanContext: sender})
}

// finish ends the span of an attempt. A task that only asks to run later has not failed.
func finish(span trace.Span, err error) {
	switch {
	case group.IsSnooze(err):
		span.SetAttributes(attribute.Bool("worker_machine.snoozed", true))
		span.End()
	default:
		if err != nil {
			span.SetAttributes(attribute.String("error.type", errorType(err)))
		}
		end(span, err)
	}
}

// errorType is that of the innermost error.
func errorType(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return fmt.Sprintf("%T", err)
}

// WorkerHooks make the spans of commits.
func (t *Tracer) WorkerHooks() group.Hooks {
	if t == nil {
		return group.Hooks{}
	}
	return group.Hooks{
		Done:      func(m group.Metadata, _ time.Duration) { t.committed(&m, "done") },
		Retry:     func(m group.Metadata, _ time.Duration, _ error) { t.committed(&m, "retry") },
		Dead:      func(m group.Metadata, _ string, _ error) { t.committed(&m, "dead") },
		Late:      func(m group.Metadata) { t.committed(&m, "late") },
		Cancelled: func(m group.Metadata) { t.committed(&m, "cancelled") },
	}
}

// committed makes the span from the end of the handler until now.
func (t *Tracer) committed(m *group.Metadata, outcome string) {
	e, ok := t.ends.take(m.ID)
	if !ok {
		return
	}
	ctx := trace.ContextWithSpanContext(context.Background(), e.span) //nolint:forbidigo // a hook brings no context
	_, span := t.tracer.Start(ctx, "commit "+m.Function, trace.WithTimestamp(e.at), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		append(attributesOf(m.Queue, m.Function, m.ID, "settle"), attribute.String("worker_machine.outcome", outcome))...))
	span.End()
}

// ends are attempts whose handler has ended, and whose outcome is not recorded yet.
type ends struct {
	mu    sync.Mutex
	tasks map[string]ended
}

type ended struct {
	span trace.SpanContext
	at   time.Time
}

// mostEnds bounds them: of an attempt whose worker lost its lease no hook tells.
const mostEnds = 10_000

func newEnds() *ends { return &ends{tasks: make(map[string]ended)} }

func (e *ends) add(task string, span trace.SpanContext) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.tasks) >= mostEnds {
		clear(e.tasks)
	}
	e.tasks[task] = ended{span: span, at: time.Now()}
}

func (e *ends) take(task string) (found ended, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	found, ok = e.tasks[task]
	delete(e.tasks, task)
	return found, ok
}
