// Package tracing makes OpenTelemetry spans of what becomes of tasks, across clients and workers.
//
//	tracer := tracing.New(provider, nil)
//	store, err := stream.NewStore(redisClient, stream.Config{Hooks: tracer.Hooks()})
//	worker, err := group.NewWorker(store, tracer.Config(group.Config{}))
//
// The context of a trace travels in the headers of tasks as W3C says: traceparent, tracestate, baggage. Whoever may look at a task may read
// its baggage.
//
//	enqueue f   producer   from the call of Enqueue until the task is stored
//	call f      producer   until the result is there
//	wait f      internal   until a handler starts, as long as the worker's clock and that of Redis tell
//	run f       consumer   the handler, once for each attempt
//	commit f    client     until the outcome is recorded
//
// The spans of a task are children of the span that sent it. Where one call sends many (map, EnqueueAll, Submit of a job), each attempt begins a
// trace of its own, with a link to the span of that call: one trace of a million spans helps nobody. How many of those are kept is for
// the sampler of the worker's provider.
package tracing

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/athoune/worker-machine/stream"
)

const (
	scope = "github.com/athoune/worker-machine/tracing"

	// headerLink says that the context in the headers is that of a call that sent many tasks.
	headerLink = "tracelink"
	// mostBaggage bounds what each task carries along, in bytes. More is left out.
	mostBaggage   = 4096
	headerBaggage = "baggage"
)

// Tracer makes the spans. A nil Tracer makes none, and costs nothing. It is safe for concurrent use.
type Tracer struct {
	tracer trace.Tracer
	fields propagation.TextMapPropagator
	ends   *ends
}

// New returns a Tracer; without a provider it is nil. A nil propagator is that of W3C: trace context and baggage.
func New(provider trace.TracerProvider, fields propagation.TextMapPropagator) *Tracer {
	if provider == nil {
		return nil
	}
	if fields == nil {
		fields = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	return &Tracer{tracer: provider.Tracer(scope), fields: fields, ends: newEnds()}
}

// Hooks make the spans of calls that send tasks, and put their context into the headers.
func (t *Tracer) Hooks() stream.Hooks {
	if t == nil {
		return stream.Hooks{}
	}
	return stream.Hooks{Sending: t.sending}
}

func (t *Tracer) sending(ctx context.Context, s stream.Sending) (map[string]string, func(error)) {
	ctx, span := t.tracer.Start(ctx, s.Verb+" "+s.Function, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attributesOf(s.Queue, s.Function, s.TaskID, "send")...))
	headers := propagation.MapCarrier{}
	t.fields.Inject(ctx, headers)
	if len(headers[headerBaggage]) > mostBaggage {
		delete(headers, headerBaggage)
	}
	if s.TaskID == "" && len(headers) > 0 {
		headers[headerLink] = "1"
	}
	return headers, func(err error) { end(span, err) }
}

func end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, clip(err.Error()))
	}
	span.End()
}

// clip bounds what a span says of an error.
func clip(text string) string {
	const most = 1024
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// attributesOf are named as OpenTelemetry names those of messages, as far as it does.
func attributesOf(queue, function, task, operation string) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("messaging.system", "redis"),
		attribute.String("messaging.destination.name", queue),
		attribute.String("messaging.operation.type", operation),
		attribute.String("worker_machine.function", function),
	}
	if task != "" {
		all = append(all, attribute.String("messaging.message.id", task))
	}
	return all
}
