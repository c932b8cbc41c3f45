package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/tracing"
)

const soon = 20 * time.Second

var f = stream.Func[string, string]{Name: "f", Queue: "q", MaxAttempts: 2}

// side is a process: a provider of its own, and what it recorded.
type side struct {
	t        testing.TB
	spans    *tracetest.SpanRecorder
	provider *sdk.TracerProvider
	tracer   *tracing.Tracer
	store    *stream.Store
}

func newSide(t testing.TB, rdb *redis.Client) *side {
	t.Helper()
	s := &side{t: t, spans: tracetest.NewSpanRecorder()}
	s.provider = sdk.NewTracerProvider(sdk.WithSpanProcessor(s.spans))
	s.tracer = tracing.New(s.provider, nil)
	s.store = newStore(t, rdb, s.tracer.Hooks())
	return s
}

func newStore(t testing.TB, rdb *redis.Client, hooks stream.Hooks) *stream.Store {
	t.Helper()
	store, err := stream.NewStore(rdb, stream.Config{Hooks: hooks})
	ok(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newClient(t testing.TB, store *stream.Store) *stream.Client {
	t.Helper()
	client, err := stream.NewClient(store, stream.ClientConfig{})
	ok(t, err)
	t.Cleanup(func() { _ = client.Close(context.WithoutCancel(t.Context())) })
	return client
}

func (s *side) work(handler func(ctx context.Context, in string) (string, error)) {
	s.t.Helper()
	worker, err := group.NewWorker(s.store, s.tracer.Config(group.Config{Backoff: group.Backoff{Min: time.Millisecond, Max: time.Millisecond}}))
	ok(s.t, err)
	group.Handle(worker, f, handler)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = worker.Run(ctx) })
	s.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// ended waits for n spans of a name.
func (s *side) ended(name string, n int) []sdk.ReadOnlySpan {
	s.t.Helper()
	var found []sdk.ReadOnlySpan
	redistest.Eventually(s.t, soon, func() bool {
		found = slices.DeleteFunc(s.spans.Ended(), func(span sdk.ReadOnlySpan) bool { return span.Name() != name })
		return len(found) >= n
	}, "spans ", name)
	if len(found) != n {
		s.t.Fatalf("%d spans %q, want %d", len(found), name, n)
	}
	return found
}

func value(span sdk.ReadOnlySpan, key string) string {
	for _, a := range span.Attributes() {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

func wantParent(t testing.TB, span sdk.ReadOnlySpan, parent trace.SpanContext) {
	t.Helper()
	if span.Parent().SpanID() != parent.SpanID() || span.SpanContext().TraceID() != parent.TraceID() {
		t.Errorf("%s: parent %v in trace %v, want %v in %v", span.Name(), span.Parent().SpanID(), span.SpanContext().TraceID(), parent.SpanID(), parent.TraceID())
	}
}

func TestATraceGoesThroughTwoProcesses(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	front, back := newSide(t, server.Client(t)), newSide(t, server.Client(t))
	heard := make(chan string, 10)
	back.work(func(ctx context.Context, in string) (string, error) {
		_, inner := trace.SpanFromContext(ctx).TracerProvider().Tracer("test").Start(ctx, "inner")
		inner.End()
		heard <- baggage.FromContext(ctx).Member("tenant").Value()
		if in == "fail" && group.Meta(ctx).Attempt == 1 {
			return "", errors.New("not now")
		}
		return in, nil
	})
	member, err := baggage.NewMember("tenant", "acme")
	ok(t, err)
	bag, err := baggage.New(member)
	ok(t, err)
	ctx, root := front.provider.Tracer("test").Start(baggage.ContextWithBaggage(t.Context(), bag), "request")
	id, err := f.Enqueue(ctx, newClient(t, front.store), "fail")
	ok(t, err)
	root.End()
	sent := front.ended("enqueue f", 1)[0]
	wantParent(t, sent, root.SpanContext())
	commits := back.ended("commit f", 2)
	runs := back.ended("run f", 2)
	for i, run := range runs { // attempts, in their order
		wantParent(t, run, sent.SpanContext())
		if run.SpanKind() != trace.SpanKindConsumer || value(run, "messaging.message.id") != id || value(run, "worker_machine.attempt") != fmt.Sprint(i+1) ||
			value(run, "messaging.destination.name") != "q" || len(run.Links()) != 0 {
			t.Errorf("attempt %d: got %v, %v, %v", i+1, run.SpanKind(), run.Attributes(), run.Links())
		}
		wantParent(t, commits[i], run.SpanContext())
		if commits[i].StartTime().Before(run.EndTime().Add(-time.Second)) || commits[i].EndTime().Before(commits[i].StartTime()) {
			t.Errorf("the commit lasts from %v to %v, the run ended at %v", commits[i].StartTime(), commits[i].EndTime(), run.EndTime())
		}
	}
	if first := runs[0].Status(); first.Code != codes.Error || first.Description != "not now" || runs[1].Status().Code != codes.Unset {
		t.Errorf("status: got %v, %v", runs[0].Status(), runs[1].Status())
	}
	if got := []string{value(commits[0], "worker_machine.outcome"), value(commits[1], "worker_machine.outcome")}; !slices.Equal(got, []string{"retry", "done"}) {
		t.Errorf("outcomes: got %v", got)
	}
	for i, wait := range back.ended("wait f", 2) {
		wantParent(t, wait, sent.SpanContext())
		if wait.EndTime() != runs[i].StartTime() || wait.StartTime().After(wait.EndTime()) {
			t.Errorf("wait from %v to %v, the run started at %v", wait.StartTime(), wait.EndTime(), runs[i].StartTime())
		}
	}
	wantParent(t, back.ended("inner", 2)[0], runs[0].SpanContext())
	if got := <-heard; got != "acme" {
		t.Errorf("baggage: got %q", got)
	}
}

func TestACallIsOverWithItsResult(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	front, back := newSide(t, server.Client(t)), newSide(t, server.Client(t))
	back.work(func(_ context.Context, in string) (string, error) {
		if in == "panic" {
			panic("oh")
		}
		return "", group.Drop(errors.New("never"))
	})
	client := newClient(t, front.store)
	_, err := f.Call(t.Context(), client, "x")
	_, panicked := f.Call(t.Context(), client, "panic", stream.MaxAttempts(1))
	if err == nil || panicked == nil {
		t.Fatal("the calls do not fail")
	}
	call := front.ended("call f", 2)
	run := back.ended("run f", 2)
	wantParent(t, run[0], call[0].SpanContext())
	if call[0].Status().Code != codes.Error || !strings.Contains(call[0].Status().Description, "never") || call[0].EndTime().Before(run[0].EndTime()) {
		t.Errorf("call: %v, until %v; run until %v", call[0].Status(), call[0].EndTime(), run[0].EndTime())
	}
	if run[1].Status().Code != codes.Error || run[1].Status().Description != "panic" {
		t.Errorf("a panic: got %v", run[1].Status())
	}
}

func TestManyTasksAreTracesOfTheirOwnWithLinks(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	front, back := newSide(t, server.Client(t)), newSide(t, server.Client(t))
	back.work(func(_ context.Context, in string) (string, error) { return in, nil })
	client := newClient(t, front.store)
	batch := mapreduce.Map(t.Context(), client, f, slices.Values([]string{"a", "b", "c"}))
	for range batch.Results() {
	}
	ok(t, batch.Err())
	_, err := f.EnqueueAll(t.Context(), client, slices.Values([]string{"d", "e"}))
	ok(t, err)
	runs := back.ended("run f", 5)
	senders := map[trace.SpanID]int{}
	traces := map[trace.TraceID]bool{}
	for _, run := range runs {
		if run.Parent().IsValid() || len(run.Links()) != 1 {
			t.Fatalf("parent %v, links %v", run.Parent(), run.Links())
		}
		senders[run.Links()[0].SpanContext.SpanID()]++
		traces[run.SpanContext().TraceID()] = true
	}
	mapped, all := front.ended("map f", 1)[0], front.ended("enqueue all f", 1)[0]
	if senders[mapped.SpanContext().SpanID()] != 3 || senders[all.SpanContext().SpanID()] != 2 || len(traces) != 5 {
		t.Errorf("links: got %v in %d traces", senders, len(traces))
	}
	for i, wait := range back.ended("wait f", 5) {
		wantParent(t, wait, runs[i].SpanContext())
	}
}

// headersOf are those of the one task that is stored when enqueue has been called.
func headersOf(t *testing.T, hooks stream.Hooks, ctx context.Context) map[string]string {
	t.Helper()
	server := redistest.Start(t)
	rdb := server.Client(t)
	_, err := f.Enqueue(ctx, newClient(t, newStore(t, rdb, hooks)), "x")
	ok(t, err)
	entries := rdb.XRange(t.Context(), "wm:{q}:tasks", "-", "+").Val()
	value, _ := entries[0].Values[wire.Field].(string)
	task, err := wire.DecodeValue([]byte(value))
	ok(t, err)
	return task.Headers
}

func TestWhatTheHeadersHold(t *testing.T) {
	t.Parallel()
	provider := sdk.NewTracerProvider()
	if got := headersOf(t, tracing.New(nil, nil).Hooks(), t.Context()); len(got) != 0 {
		t.Errorf("without a tracer: got %v", got)
	}
	if got := headersOf(t, tracing.New(noop.NewTracerProvider(), nil).Hooks(), t.Context()); len(got) != 0 {
		t.Errorf("with a tracer that is none: got %v", got)
	}
	got := headersOf(t, tracing.New(provider, nil).Hooks(), t.Context())
	if len(got) != 1 || !strings.HasPrefix(got["traceparent"], "00-") || !strings.HasSuffix(got["traceparent"], "-01") {
		t.Errorf("sampled: got %v", got)
	}
	never := sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample()))
	if got = headersOf(t, tracing.New(never, nil).Hooks(), t.Context()); !strings.HasSuffix(got["traceparent"], "-00") {
		t.Errorf("not sampled: got %v, want that others hear of it", got)
	}
	state, err := trace.ParseTraceState("vendor=1")
	ok(t, err)
	var members []baggage.Member
	for i := range 50 {
		m, err := baggage.NewMember(fmt.Sprint("k", i), strings.Repeat("x", 100))
		ok(t, err)
		members = append(members, m)
	}
	bag, err := baggage.New(members...)
	ok(t, err)
	ctx := trace.ContextWithRemoteSpanContext(baggage.ContextWithBaggage(t.Context(), bag), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state,
	}))
	got = headersOf(t, tracing.New(provider, nil).Hooks(), ctx)
	if got["tracestate"] != "vendor=1" || !strings.Contains(got["traceparent"], "-01000000000000000000000000000000-") || got["baggage"] != "" {
		t.Errorf("got %v, want the state, and no baggage of 5 kB", got)
	}
}

func TestForeignHeadersBreakNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	back := newSide(t, server.Client(t))
	back.work(func(_ context.Context, in string) (string, error) { return in, nil })
	client := newClient(t, newStore(t, server.Client(t), stream.Hooks{}))
	for _, parent := range []string{"", "rubbish", "00-00000000000000000000000000000000-0000000000000000-01", "ff-" + strings.Repeat("a", 500)} {
		if _, err := f.Call(t.Context(), client, "x", stream.Header("traceparent", parent), stream.Header("baggage", "=;,="), stream.Header("tracelink", "1")); err != nil {
			t.Errorf("%q: got %v", parent, err)
		}
	}
	for _, run := range back.ended("run f", 4) {
		if run.Parent().IsValid() || len(run.Links()) != 0 {
			t.Errorf("parent %v, links %v", run.Parent(), run.Links())
		}
	}
}

func TestSnoozesAreNoFailures(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	both := newSide(t, server.Client(t))
	first := true
	both.work(func(_ context.Context, in string) (string, error) {
		if first {
			first = false
			return "", group.Snooze(time.Millisecond)
		}
		return in, nil
	})
	_, err := f.Enqueue(t.Context(), newClient(t, both.store), "x")
	ok(t, err)
	runs := both.ended("run f", 2)
	if runs[0].Status().Code != codes.Unset || !slices.Contains(runs[0].Attributes(), attribute.Bool("worker_machine.snoozed", true)) {
		t.Errorf("got %v, %v", runs[0].Status(), runs[0].Attributes())
	}
}

func TestOffCostsNothing(t *testing.T) { //nolint:paralleltest // it counts for the whole process
	var off *tracing.Tracer
	if hooks := off.Hooks(); hooks.Sending != nil {
		t.Error("there is a hook")
	}
	cfg := off.Config(group.Config{})
	if len(cfg.Middleware) != 0 || cfg.Hooks.Done != nil {
		t.Errorf("a worker has something to do: %v", cfg)
	}
	next := func(context.Context, group.Task) ([]byte, error) { return nil, nil }
	handler := off.Middleware(next)
	if n := testing.AllocsPerRun(100, func() { _, _ = handler(t.Context(), group.Task{}) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	server := redistest.Start(t)
	plain, traced := newClient(t, newStore(t, server.Client(t), stream.Hooks{})), newClient(t, newStore(t, server.Client(t), off.Hooks()))
	count := func(client *stream.Client) float64 {
		return testing.AllocsPerRun(300, func() { _, _ = f.Enqueue(t.Context(), client, "x") })
	}
	if a, b := count(plain), count(traced); b > a+0.5 {
		t.Errorf("an enqueue has %v allocations, without a tracer %v", b, a)
	}
}
