package web

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/problem"
)

const (
	defaultWindow = 1000
	mostWindow    = 10_000
	windowBytes   = 16 << 20
	heartbeat     = 10 * time.Second // of streams
	slowClient    = 30 * time.Second // who takes a result no faster is left
	slowInput     = 5 * time.Minute  // who sends no input for so long, too
)

// batchOrder is a batch as clients write it. In NDJSON its inputs are the lines, and the rest is in the query.
type batchOrder struct {
	Function    string            `json:"function"`
	Inputs      []json.RawMessage `json:"inputs"`
	Encoding    string            `json:"encoding"` // of inputs: json, or base64 in strings
	As          string            `json:"as"`       // of results: likewise
	InOrder     bool              `json:"in_order"`
	Window      int               `json:"window"`
	FailAfter   int               `json:"fail_after"`
	MaxAttempts int               `json:"max_attempts"`
	Timeout     string            `json:"timeout"`
	Headers     map[string]string `json:"headers"`
}

// event is one line, or one event, of an answer.
type event struct {
	Event   string           `json:"event"` // result, heartbeat, done, error
	Index   *int             `json:"index,omitempty"`
	Task    string           `json:"task,omitempty"`
	Failure *failure         `json:"failure,omitempty"`
	Results *int             `json:"results,omitempty"` // of done and error: how many results there were
	Failed  *int             `json:"failed,omitempty"`
	Problem *problem.Problem `json:"problem,omitempty"` // of error: why results are missing
	data
}

// batch calls a function for each input, and sends each result as soon as it is there.
func (h *Handler) batch(w http.ResponseWriter, r *http.Request) error {
	o, lines, err := h.readBatch(r)
	if err != nil {
		return err
	}
	options, err := o.options(lines)
	if err != nil {
		return err
	}
	if !h.streams.Take() {
		return busyProblem()
	}
	defer h.streams.Free()
	ctx, cancel := h.untilStop(r.Context())
	defer cancel()
	in := &inputs{limit: h.cfg.Limits.Body, encoding: o.Encoding, control: http.NewResponseController(w), over: make(chan struct{})}
	if lines {
		in.body = r.Body
		_ = in.control.EnableFullDuplex() // HTTP/2 is so by itself
	} else if err = in.take(o.Inputs); err != nil {
		return err
	}
	fn := stream.Func[[]byte, []byte]{Name: o.Function, Queue: r.PathValue("queue"), Codec: stream.Raw}
	batch := mapreduce.Map(ctx, h.client, fn, in.each(cancel), options...)
	if err := batch.Err(); err != nil { // of the options
		return err
	}
	in.forget()
	out := &outlet{
		w: w, control: in.control, events: accepted(r, []string{lineType, eventType}) == eventType,
		slow: h.slow, queue: fn.Queue, function: fn.Name, as: o.As,
	}
	if err := out.begin(); err == nil {
		h.pump(ctx, cancel, batch, out)
	}
	why := errors.Join(in.failure(), batch.Err())
	h.finish(ctx, r, out, why)
	return nil
}

// readBatch reads all of a batch, or, where its inputs are lines, all but those.
func (h *Handler) readBatch(r *http.Request) (o batchOrder, lines bool, err error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == lineType {
		q := newQuery(r, "function", "encoding", "as", "in_order", "window", "fail_after", "max_attempts", "timeout")
		o = batchOrder{
			Function: q.values.Get("function"), Encoding: q.values.Get("encoding"), As: q.values.Get("as"), InOrder: q.flag("in_order"),
			Window: q.number("window", 0, 1, mostWindow), FailAfter: q.number("fail_after", 0, 1, 1<<30),
			MaxAttempts: q.number("max_attempts", 0, 1, mostAttempts), Timeout: q.values.Get("timeout"),
		}
		return o, true, q.err()
	}
	if err = newQuery(r).err(); err != nil {
		return o, false, err
	}
	return o, false, readJSON(r.Body, &o)
}

// options checks a batch and reports all that is wrong with it.
func (o *batchOrder) options(inQuery bool) ([]mapreduce.Option, error) {
	f := &fields{}
	if inQuery {
		f.in = "query"
	}
	if err := wire.CheckName("function", o.Function); err != nil {
		f.fault("function", err.Error())
	}
	for name, value := range map[string]*string{"encoding": &o.Encoding, "as": &o.As} {
		fill(value, "json")
		if *value != "json" && *value != "base64" {
			f.fault(name, "use json or base64")
		}
	}
	fill(&o.Window, defaultWindow)
	if o.Window < 1 || o.Window > mostWindow {
		f.fault("window", "use 1 to "+strconv.Itoa(mostWindow))
	}
	if o.FailAfter < 0 {
		f.fault("fail_after", "use 1 or more, or 0 for never")
	}
	options := []mapreduce.Option{
		mapreduce.Window(o.Window), mapreduce.WindowBytes(windowBytes), mapreduce.TaskOptions(f.common(o.MaxAttempts, o.Timeout, o.Headers)...),
	}
	if o.InOrder {
		options = append(options, mapreduce.InOrder())
	}
	if o.FailAfter > 0 {
		options = append(options, mapreduce.FailAfter(o.FailAfter))
	}
	return options, f.err()
}

// inputs are those of a batch: a list, or the lines of a body.
type inputs struct {
	list     [][]byte
	body     io.Reader
	limit    int64 // of a line
	encoding string
	control  *http.ResponseController
	over     chan struct{} // closed when nobody reads the body any more
	err      error         // once over is closed
}

// take checks all inputs of a list, before the first one is sent.
func (in *inputs) take(texts []json.RawMessage) error {
	f := &fields{}
	for i, text := range texts {
		input, detail := in.decode(text)
		if detail != "" && len(f.wrong) < mostFaults {
			f.fault("inputs."+strconv.Itoa(i), detail)
		}
		in.list = append(in.list, input)
	}
	return f.err()
}

const mostFaults = 20 // that one answer tells of

// decode returns the bytes of an input, or what is wrong with it.
func (in *inputs) decode(text []byte) (input []byte, detail string) {
	if int64(len(text)) > in.limit {
		return nil, "it is too large"
	}
	if in.encoding != "base64" {
		if !json.Valid(text) {
			return nil, "it is no JSON"
		}
		return text, ""
	}
	var encoded string
	if json.Unmarshal(text, &encoded) != nil {
		return nil, "it is no JSON string"
	}
	input, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, "it is not base64 with + and /, padded with ="
	}
	return input, ""
}

// each yields the inputs. A line that is none ends the batch.
func (in *inputs) each(cancel context.CancelFunc) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		defer close(in.over)
		for _, input := range in.list {
			if !yield(input) {
				return
			}
		}
		if in.body == nil {
			return
		}
		in.err = readLines(&patientReader{in.body, in.control}, in.limit, func(n int, line []byte) error {
			input, detail := in.decode(line)
			if detail != "" {
				return problem.Invalid(problem.Field{In: "body", Field: "line " + strconv.Itoa(n+1), Detail: detail})
			}
			if !yield(bytes.Clone(input)) {
				return errLeft
			}
			return nil
		})
		in.forget()
		if in.err != nil {
			cancel()
		}
	}
}

var errLeft = errors.New("web: the batch takes no more inputs")

// failure is why not all inputs were read. It ends a read that is under way: the body may not be read once the request is answered.
func (in *inputs) failure() error {
	select {
	case <-in.over:
	default:
		if in.body == nil {
			return nil
		}
		_ = in.control.SetReadDeadline(time.Unix(1, 0))
		select {
		case <-in.over:
		case <-time.After(time.Second): // they were never asked for
		}
		return nil // the end of the batch is not their fault
	}
	if errors.Is(in.err, errLeft) {
		return nil
	}
	return in.err
}

// forget takes the time limit of reads away: from the end of a body on, only the end of the connection is waited for.
func (in *inputs) forget() { _ = in.control.SetReadDeadline(time.Time{}) }

// patientReader gives every read its time.
type patientReader struct {
	body    io.Reader
	control *http.ResponseController
}

// Read reads.
func (p *patientReader) Read(b []byte) (int, error) {
	_ = p.control.SetReadDeadline(time.Now().Add(slowInput)) // a recorder has none
	return p.body.Read(b)
}

// pump sends results until there are no more, or nobody takes them.
func (h *Handler) pump(ctx context.Context, cancel context.CancelFunc, batch *mapreduce.Batch[[]byte, []byte], out *outlet) {
	const ahead = 64
	results := make(chan mapreduce.Result[[]byte, []byte], ahead)
	go func() {
		defer close(results)
		for r := range batch.Results() {
			select {
			case results <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	beat := time.NewTicker(h.heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case r, ok := <-results:
			if !ok {
				return
			}
			err = out.result(h.resultEvent(&r, out), len(results) == 0)
		case <-beat.C:
			err = out.beat()
		}
		if err != nil {
			cancel() // the client has left, or is too slow
			for range results {
				continue // until the batch is over
			}
			return
		}
	}
}

func (h *Handler) resultEvent(r *mapreduce.Result[[]byte, []byte], out *outlet) event {
	e := event{Event: "result", Index: &r.Index, Task: r.TaskID}
	var failed *stream.TaskError
	switch {
	case r.Err == nil:
		e.Result, e.ResultBase64 = inWords(h.redact(out.queue, out.function, r.Value), out.as)
	case errors.As(r.Err, &failed):
		e.Failure = &failure{Function: failed.Function, Attempt: failed.Attempt, Reason: failed.Reason, Message: failed.Message}
	default:
		e.Failure = &failure{Reason: problemOf(r.Err).Code, Message: problemOf(r.Err).Title}
	}
	return e
}

// finish says how the batch ended: a stream that just stops is one that was cut off.
func (h *Handler) finish(ctx context.Context, r *http.Request, out *outlet, why error) {
	if r.Context().Err() != nil {
		return // nobody listens
	}
	last := event{Event: "done", Results: &out.results, Failed: &out.failed}
	if why != nil {
		last.Event = "error"
		last.Problem = h.batchProblem(ctx, why)
		last.Problem.RequestID = out.w.Header().Get(problem.RequestID)
		h.log.Info("batch ended early", zap.String("request", last.Problem.RequestID), zap.String("code", last.Problem.Code), zap.Error(why))
	}
	_ = out.send(&last, true)
}

func (h *Handler) batchProblem(ctx context.Context, why error) *problem.Problem {
	var failures *mapreduce.FailuresError
	select {
	case <-h.stopping:
		return stoppingProblem()
	default:
	}
	if errors.As(why, &failures) {
		return problem.New(http.StatusOK, "too-many-failed", "The batch was stopped after fail_after failures", "Results are missing.")
	}
	if p := problemOf(why); p.Status != http.StatusInternalServerError || ctx.Err() == nil {
		return p
	}
	return problem.New(http.StatusBadRequest, "inputs-ended", "The inputs could not be read to their end", "Results are missing.")
}

// outlet writes events, as lines or as server-sent ones.
type outlet struct {
	w       http.ResponseWriter
	control *http.ResponseController
	events  bool
	slow    time.Duration // how long a write may take
	results int
	failed  int

	queue, function, as string
}

// begin answers before there is a result: the batch is accepted.
func (o *outlet) begin() error {
	kind := lineType
	if o.events {
		kind = eventType
	}
	o.w.Header().Set("Content-Type", kind)
	o.w.Header().Set("X-Accel-Buffering", "no") // nginx
	o.w.WriteHeader(http.StatusOK)
	return o.control.Flush()
}

func (o *outlet) result(e event, flush bool) error {
	o.results++
	if e.Failure != nil {
		o.failed++
	}
	return o.send(&e, flush)
}

// beat keeps proxies from taking the connection for dead.
func (o *outlet) beat() error {
	if o.events {
		return o.write([]byte(": heartbeat\n\n"), true)
	}
	return o.send(&event{Event: "heartbeat"}, true)
}

func (o *outlet) send(e *event, flush bool) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if o.events {
		return o.write(append(append([]byte("event: "+e.Event+"\ndata: "), text...), "\n\n"...), flush)
	}
	return o.write(append(text, '\n'), flush)
}

// write leaves a client that does not take what it asked for.
func (o *outlet) write(text []byte, flush bool) error {
	_ = o.control.SetWriteDeadline(time.Now().Add(o.slow)) // a recorder has none
	if _, err := o.w.Write(text); err != nil {
		return err
	}
	if !flush {
		return nil
	}
	return o.control.Flush()
}
