package web

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/problem"
)

const (
	mostAttempts   = 1000
	mostHeaders    = 32
	mostHeaderText = 4096
	mostKey        = 512
	mostAhead      = 10 * 365 * 24 * time.Hour
	mostTimeout    = 7 * 24 * time.Hour
	mostTTL        = 31 * 24 * time.Hour
	defaultTTL     = 24 * time.Hour
)

// order is a task as clients write it.
type order struct {
	Function    string            `json:"function"`
	Payload     json.RawMessage   `json:"payload"`
	Base64      *string           `json:"payload_base64"`
	After       string            `json:"after"`
	At          string            `json:"at"`
	Unique      *uniqueness       `json:"unique"`
	MaxAttempts int               `json:"max_attempts"`
	Timeout     string            `json:"timeout"`
	Headers     map[string]string `json:"headers"`
	Keep        string            `json:"keep"`
}

type uniqueness struct {
	Key string `json:"key"`
	TTL string `json:"ttl"`
}

// made is a task that can be stored.
type made struct {
	function string
	payload  []byte
	options  []stream.Option
	delayed  bool
	keep     time.Duration
}

// make checks an order and reports all that is wrong with it. keyed tells that the request has an Idempotency-Key.
func (o *order) make(keyed bool) (made, error) {
	f := &fields{}
	m := made{function: o.Function}
	if err := wire.CheckName("function", o.Function); err != nil {
		f.fault("function", err.Error())
	}
	m.payload = f.payload(o.Payload, o.Base64)
	m.options = f.common(o.MaxAttempts, o.Timeout, o.Headers)
	if o.After != "" && o.At != "" {
		f.fault("at", "give after or at, not both")
	}
	if d := f.duration("after", o.After, 0, mostAhead); d > 0 {
		m.options, m.delayed = append(m.options, stream.After(d)), true
	}
	if o.At != "" {
		at, err := time.Parse(time.RFC3339Nano, o.At)
		if err != nil {
			f.fault("at", "write a time like 2030-01-02T15:04:05Z")
		}
		m.options, m.delayed = append(m.options, stream.At(at)), true
	}
	if o.Unique != nil && keyed {
		f.fault("unique", "it does not go together with the header Idempotency-Key")
	} else if o.Unique != nil {
		m.options = append(m.options, f.unique(o.Unique))
	}
	m.keep = f.duration("keep", o.Keep, time.Second, mostTTL)
	return m, f.err()
}

func (m *made) fn(queue string) stream.Func[[]byte, []byte] {
	return stream.Func[[]byte, []byte]{Name: m.function, Queue: queue, Codec: stream.Raw}
}

// fields notes what is wrong with the fields of a body.
type fields struct {
	in    string // default: body
	wrong []problem.Field
}

func (f *fields) fault(field, detail string) {
	f.wrong = append(f.wrong, problem.Field{In: cmp.Or(f.in, "body"), Field: field, Detail: detail})
}

func (f *fields) err() error {
	if f.wrong == nil {
		return nil
	}
	return problem.Invalid(f.wrong...)
}

// payload is JSON as it was written, or bytes.
func (f *fields) payload(value json.RawMessage, encoded *string) []byte {
	if encoded == nil {
		return value
	}
	if value != nil {
		f.fault("payload_base64", "give payload or payload_base64, not both")
	}
	data, err := base64.StdEncoding.DecodeString(*encoded)
	if err != nil {
		f.fault("payload_base64", "it is not base64 with + and /, padded with =")
	}
	return data
}

// common are the options that tasks of all kinds have.
func (f *fields) common(attempts int, timeout string, headers map[string]string) []stream.Option {
	var options []stream.Option
	if attempts < 0 || attempts > mostAttempts {
		f.fault("max_attempts", fmt.Sprintf("use 1 to %d, or 0 to leave it to the worker", mostAttempts))
	} else if attempts > 0 {
		options = append(options, stream.MaxAttempts(attempts))
	}
	if d := f.duration("timeout", timeout, time.Millisecond, mostTimeout); d > 0 {
		options = append(options, stream.Timeout(d))
	}
	if len(headers) > mostHeaders {
		f.fault("headers", fmt.Sprintf("there are %d, use at most %d", len(headers), mostHeaders))
		return options
	}
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := wire.CheckName("header", name); err != nil {
			f.fault("headers", err.Error())
			continue
		}
		if len(headers[name]) > mostHeaderText {
			f.fault("headers."+name, fmt.Sprintf("it is longer than %d bytes", mostHeaderText))
		}
		options = append(options, stream.Header(name, headers[name]))
	}
	return options
}

func (f *fields) unique(u *uniqueness) stream.Option {
	if u.Key == "" || len(u.Key) > mostKey {
		f.fault("unique.key", fmt.Sprintf("use 1 to %d bytes", mostKey))
	}
	ttl := defaultTTL
	if u.TTL != "" {
		ttl = f.duration("unique.ttl", u.TTL, time.Millisecond, mostTTL)
	}
	return stream.Unique(u.Key, ttl)
}

// duration reads a duration such as 1h30m; "" is 0.
func (f *fields) duration(field, text string, least, most time.Duration) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		f.fault(field, fmt.Sprintf("use a duration from %v to %v, such as 90s or 1h30m", least, most))
		return 0
	}
	return d
}
