package main

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/athoune/worker-machine/internal/redistest"
)

// receiver takes spans as a collector of OpenTelemetry does.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	spans    map[string][]*otlp.Span // by name
	services map[string]bool
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t, spans: map[string][]*otlp.Span{}, services: map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(w http.ResponseWriter, req *http.Request) {
	var body io.Reader = req.Body
	if req.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			r.t.Error(err)
			return
		}
		body = unzipped
	}
	data, err := io.ReadAll(body)
	var export collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(data, &export)
	}
	if err != nil || req.URL.Path != "/v1/traces" || req.Header.Get("Content-Type") != "application/x-protobuf" {
		r.t.Errorf("%s %s: %v", req.URL.Path, req.Header.Get("Content-Type"), err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range export.GetResourceSpans() {
		for _, a := range rs.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				r.services[a.GetValue().GetStringValue()] = true
			}
		}
		for _, ss := range rs.GetScopeSpans() {
			for _, span := range ss.GetSpans() {
				r.spans[span.GetName()] = append(r.spans[span.GetName()], span)
			}
		}
	}
	answer, _ := proto.Marshal(&collector.ExportTraceServiceResponse{})
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(answer)
}

// named waits for n spans of a name.
func (r *receiver) named(name string, n int) (found []*otlp.Span) {
	r.t.Helper()
	redistest.Eventually(r.t, patience, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		found = r.spans[name]
		return len(found) >= n
	}, "spans ", name)
	return found
}

func TestTracesAreExportedOverHTTP(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := newConsole(t)
	c.env = append(c.env, "OTEL_EXPORTER_OTLP_ENDPOINT="+r.URL, "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	worker := c.work("--handle", "cat=cat", "--handle", "env=env")
	c.must("", "call", "cat")
	if out := c.must("", "call", "env"); !strings.Contains(out, "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-") || strings.Contains(out, "\nTRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331") {
		t.Errorf("a program is not told of the span of its run: %s", out)
	}
	c.must("", "enqueue", "cat")
	c.must("a\nb\nc\n", "map", "cat")
	worker.ctrlC()
	if code := worker.wait(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, worker.stderr)
	}
	call := r.named("call cat", 1)[0]
	if got := hex.EncodeToString(call.GetTraceId()); got != "0af7651916cd43dd8448eb211c80319c" || hex.EncodeToString(call.GetParentSpanId()) != "b7ad6b7169203331" {
		t.Errorf("call: trace %s, parent %x: want those of TRACEPARENT", got, call.GetParentSpanId())
	}
	enqueue, mapped := r.named("enqueue cat", 1)[0], r.named("map cat", 1)[0]
	runs := r.named("run cat", 5)
	children, links := map[string]int{}, map[string]int{}
	for _, run := range runs {
		children[string(run.GetParentSpanId())]++
		for _, link := range run.GetLinks() {
			links[string(link.GetSpanId())]++
		}
		if run.GetKind() != otlp.Span_SPAN_KIND_CONSUMER || run.GetEndTimeUnixNano() <= run.GetStartTimeUnixNano() {
			t.Errorf("a run: %v", run)
		}
	}
	if len(runs) != 5 || children[string(call.GetSpanId())] != 1 || children[string(enqueue.GetSpanId())] != 1 || links[string(mapped.GetSpanId())] != 3 {
		t.Errorf("%d runs, children %v, links %v", len(runs), children, links)
	}
	r.named("wait cat", 5)
	r.named("commit cat", 5)
	if !r.services["worker-machine"] {
		t.Errorf("services: %v", r.services)
	}
}

func TestTracesAreOffWithoutAnEndpoint(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{
		"nothing is said": nil,
		"it is disabled":  {"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_SDK_DISABLED=true"},
	} {
		a := &app{env: env}
		if err := a.startTraces(t.Context()); err != nil || a.traces != nil || a.hooks.Sending != nil || a.traces.worker() != nil {
			t.Errorf("%s: %v, %v", name, a.traces, err)
		}
	}
	for _, bad := range []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=ftp://x/", "OTEL_EXPORTER_OTLP_ENDPOINT=http://u:secret@/ x",
	} {
		c := newConsole(t)
		c.env = append(c.env, bad)
		_, errs, code := c.run("", "enqueue", "f")
		if code != exitUsage || !strings.Contains(errs, "OTLP") || strings.Contains(errs, "secret") {
			t.Errorf("%s: exit code %d, %s", bad, code, errs)
		}
	}
	c := newConsole(t)
	c.env = append(c.env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
	if _, errs, code := c.run("", "enqueue", "f"); code != exitUsage || !strings.Contains(errs, "http/protobuf") {
		t.Errorf("gRPC: exit code %d, %s", code, errs)
	}
}

func TestAReceiverThatIsAwayFailsNothing(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	gone := newReceiver(t)
	gone.Close()
	c.env = append(c.env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+gone.URL+"/v1/traces")
	if _, errs, code := c.run("", "enqueue", "f"); code != 0 || !strings.Contains(errs, "cannot export traces") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}
