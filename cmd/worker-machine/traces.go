package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/tracing"
)

// traces exports spans by OTLP over HTTP where the variables of OpenTelemetry say so; nil where they do not.
type traces struct {
	provider *sdk.TracerProvider
	tracer   *tracing.Tracer
}

const (
	endpointVariable = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesVariable   = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	exportWithin     = 5 * time.Second // of the spans that are left at the end
)

// tracesEndpoint is where spans go, "" for nowhere. That of traces is taken as it is, the other one is the base of a path.
func (a *app) tracesEndpoint() (string, error) {
	text, from := a.getenv(tracesVariable), tracesVariable
	if text == "" {
		text, from = strings.TrimSuffix(a.getenv(endpointVariable), "/"), endpointVariable
		if text != "" {
			text += "/v1/traces"
		}
	}
	if text == "" || strings.EqualFold(a.getenv("OTEL_SDK_DISABLED"), "true") {
		return "", nil
	}
	endpoint, err := url.Parse(text)
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "http" && endpoint.Scheme != "https" {
		return "", fmt.Errorf("%s: give the URL of an OTLP receiver over HTTP, such as http://127.0.0.1:4318", from) // it may hold a password: not told
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := a.getenv(name); protocol != "" && protocol != "http/protobuf" {
			return "", fmt.Errorf("%s: %q is not spoken here, only http/protobuf", name, protocol)
		}
	}
	return text, nil
}

// startTraces has the store of this process, and its worker, make spans. It comes BEFORE the connection.
func (a *app) startTraces(ctx context.Context) error {
	endpoint, err := a.tracesEndpoint()
	if err != nil || endpoint == "" {
		return err
	}
	exporter, err := otlptracehttp.New(context.WithoutCancel(ctx), otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return fmt.Errorf("export traces: %w", err)
	}
	name := a.getenv("OTEL_SERVICE_NAME")
	if name == "" {
		name = "worker-machine"
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", name), attribute.String("service.version", versionText(buildVersion()))),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return fmt.Errorf("export traces: %w", err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(&telling{SpanExporter: exporter, log: a.log}), sdk.WithResource(about))
	a.traces = &traces{provider: provider, tracer: tracing.New(provider, nil)}
	a.hooks = stream.JoinHooks(a.hooks, a.traces.tracer.Hooks())
	return nil
}

// telling logs what could not be exported, and says no more of it.
type telling struct {
	sdk.SpanExporter

	log *zap.Logger
}

// ExportSpans exports spans. That a receiver is away is no reason for anything else to fail.
func (t *telling) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := t.SpanExporter.ExportSpans(ctx, spans); err != nil {
		t.log.Warn("cannot export traces", zap.Int("spans", len(spans)), zap.Error(err))
	}
	return nil
}

// worker is the tracer of a worker's configuration.
func (t *traces) worker() *tracing.Tracer {
	if t == nil {
		return nil
	}
	return t.tracer
}

// end exports what is left.
func (t *traces) end(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exportWithin)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // the exporter has told
}

// caller is ctx with the span that the variable TRACEPARENT names, as other programs hand it on.
func (a *app) caller(ctx context.Context) context.Context {
	if a.traces == nil {
		return ctx
	}
	given := propagation.MapCarrier{"traceparent": a.getenv("TRACEPARENT"), "tracestate": a.getenv("TRACESTATE"), "baggage": a.getenv("BAGGAGE")}
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}).Extract(ctx, given)
}

// spanOf is the span of ctx as programs are told of it; nil where there is none.
func spanOf(ctx context.Context) map[string]string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return nil
	}
	told := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, told)
	return told
}
