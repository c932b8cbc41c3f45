package wire_test

import (
	"bytes"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

const (
	taskID  = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	replyID = "01BX5ZZKBKACTAV9WEVGEMMVRZ"
	chunkID = "01ARZ3NDEKTSV4RRFFQ69G0000"
)

// samples are tasks of every shape; the golden files hold how each lies in Redis.
var samples = map[string]wire.Task{
	"a plain task":             {ID: taskID, Function: "getTitle", Attempt: 1, Payload: []byte(`"linuxfr.org"`)},
	"a task with a caller":     {ID: taskID, Function: "getTitle", Attempt: 1, Reply: replyID, Payload: []byte("1")},
	"an empty payload":         {ID: taskID, Function: "f", Attempt: 1, Payload: []byte{}},
	"a payload that is binary": {ID: taskID, Function: "f", Attempt: 1, Payload: []byte("\x00\xff\n\r\n v=2 \x1b[31m")},
	"a third attempt": {
		ID: taskID, Function: "f", Attempt: 3, MaxAttempts: 5, Timeout: 30 * time.Second, Reply: replyID,
		LastError: "dial tcp: refused\nd=1 a=9 é", Promoted: true, Payload: []byte("{}"),
	},
	"a unique task with headers": {
		ID: taskID, Function: "a.b_c-d", Attempt: 1, Unique: "0123456789abcdef",
		Headers: map[string]string{"trace": "00-4bf92f-01", "a": "", "note": "x=1 h.y=2\n%&+é"}, Payload: []byte("x"),
	},
	"a chunk of three": {
		ID: chunkID, Function: "f", Attempt: 1, MaxAttempts: 2, Reply: replyID, Items: 3, Payload: []byte("\x01a\x00\x03\x00\n\xff"),
	},
}

func equal(a, b wire.Task) bool {
	return a.ID == b.ID && a.Function == b.Function && a.Attempt == b.Attempt && a.MaxAttempts == b.MaxAttempts &&
		a.Timeout == b.Timeout && a.Reply == b.Reply && a.Unique == b.Unique && a.Promoted == b.Promoted &&
		a.Items == b.Items && a.LastError == b.LastError && maps.Equal(a.Headers, b.Headers) && string(a.Payload) == string(b.Payload)
}

func TestTasksSurviveTheRoundTrip(t *testing.T) {
	t.Parallel()
	for name, task := range samples {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, decode := range map[string]func() (wire.Task, error){
				"Decode(Fields)": func() (wire.Task, error) { return wire.Decode(task.Fields()) },
				"DecodeBody(Body)": func() (wire.Task, error) {
					got, err := wire.DecodeBody(task.Body())
					if !got.Promoted {
						t.Error("a task that is due later is not marked as promoted")
					}
					got.Promoted = task.Promoted
					return got, err
				},
			} {
				if got, err := decode(); err != nil || !equal(got, task) {
					t.Errorf("%s: got %+v, %v, want %+v", how, got, err, task)
				}
			}
			if err := task.Check(); err != nil {
				t.Errorf("Check: got %v, want nil", err)
			}
			if strings.ContainsAny(task.Header(), "\n\r\x00") {
				t.Errorf("header %q is not one line", task.Header())
			}
		})
	}
}

func TestDecodeTakesWhatItMayMeet(t *testing.T) {
	t.Parallel()
	plain := wire.Task{ID: taskID, Function: "f", Attempt: 1, Payload: []byte("p")}
	for name, c := range map[string]struct {
		fields []string
		want   wire.Task
	}{
		"foreign fields beside":              {[]string{"x", "1", "v1", taskID + " f\np", "y", ""}, plain},
		"a newer version beside":             {[]string{"v2", "?", "v1", taskID + " f\np"}, plain},
		"unknown header tokens":              {[]string{"v1", taskID + " f zz=9 q=\np"}, plain},
		"the first of two fields counts":     {[]string{"v1", taskID + " f\np", "v1", taskID + " g\np"}, plain},
		"the last of two tokens counts":      {[]string{"v1", taskID + " f a=7 a=1\np"}, plain},
		"a cut error stays cut":              {[]string{"v1", taskID + " f e=" + strings.Repeat("x", 300) + "\np"}, wire.Task{ID: taskID, Function: "f", Attempt: 1, LastError: strings.Repeat("x", 256), Payload: []byte("p")}},
		"not promoted when the token says 0": {[]string{"v1", taskID + " f d=0\np"}, plain},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := wire.Decode(c.fields); err != nil || !equal(got, c.want) {
				t.Errorf("decode %q: got %+v, %v, want %+v", c.fields, got, err, c.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	entry := func(header string) []string { return []string{"v1", header + "\n"} }
	for name, c := range map[string]struct {
		fields []string
		want   string // part of the message
	}{
		"no fields":                       {nil, "a field named v1 is needed"},
		"a field without a value":         {[]string{"v1"}, "a field without a value"},
		"an entry added by hand":          {[]string{"url", "linuxfr.org"}, "was it added by hand?"},
		"a task without payload":          {[]string{"v1", taskID + " f"}, "a header, a line end, and the payload"},
		"a task without version":          {[]string{"v", taskID + " f\n"}, "a field named v1 is needed"},
		"a version that is no number":     {[]string{"vone", taskID + " f\n"}, "a field named v1 is needed"},
		"a version of 0":                  {[]string{"v0", taskID + " f\n"}, "a field named v1 is needed"},
		"a version beyond all":            {[]string{"v99999999999999999999", ""}, "a field named v1 is needed"},
		"a header without an ID":          {entry(""), "must start with a ULID of 26 characters"},
		"an ID with letters of no ULID":   {entry("01ARZ3NDEKTSV4RRFFQ69G5FAI f"), "must start with a ULID of 26 characters"},
		"an ID in lower case":             {entry(strings.ToLower(taskID) + " f"), "must start with a ULID of 26 characters"},
		"an ID above the highest":         {entry("8" + taskID[1:] + " f"), "must start with a ULID of 26 characters"},
		"no function":                     {entry(taskID), `function name ""`},
		"a function with a strange name":  {entry(taskID + " {f}"), `function name "{f}": use 1 to 128 letters`},
		"a token without a sign":          {entry(taskID + " f a"), `header token "a" has no '='`},
		"two spaces":                      {entry(taskID + " f  a=2"), `header token "" has no '='`},
		"attempt 0":                       {entry(taskID + " f a=0"), `header token "a=0": want a number from 1`},
		"an attempt beyond all":           {entry(taskID + " f a=99999999999999999999"), "want a number from 1"},
		"a timeout that would overflow":   {entry(taskID + " f to=9223372036854775807"), "want a number from 1"},
		"a reply stream that is no ULID":  {entry(taskID + " f re=x}:{y"), "no ULID"},
		"a lock that breaks out of a key": {entry(taskID + " f uq={x}"), `hash name "{x}"`},
		"a header with a strange name":    {entry(taskID + " f h.a:b=1"), `header name "a:b"`},
		"a header with a bad escape":      {entry(taskID + " f h.a=%zz"), "invalid URL escape"},
		"an error with a bad escape":      {entry(taskID + " f e=%"), "invalid URL escape"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := wire.Decode(c.fields)
			if _, ok := errors.AsType[*wire.MalformedError](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("decode %q: got %v, want a MalformedError with %q", c.fields, err, c.want)
			}
			if errors.Is(err, wire.ErrNewer) {
				t.Errorf("decode %q: %v is ErrNewer", c.fields, err)
			}
		})
	}
}

func TestDecodeBodyRefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "v1", "v1 " + taskID + " f", "\n", "x " + taskID + " f\n", "{}"} {
		_, err := wire.DecodeBody(body)
		if _, ok := errors.AsType[*wire.MalformedError](err); !ok {
			t.Errorf("decode body %q: got %v, want a MalformedError", body, err)
		}
	}
}

func TestNewerVersionsAreToldApart(t *testing.T) {
	t.Parallel()
	for name, fields := range map[string][]string{
		"with our fields":    {"v2", taskID + " f\n"},
		"with fields unseen": {"frame", "\x00", "v17", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := wire.Decode(fields)
			if !errors.Is(err, wire.ErrNewer) || !strings.Contains(err.Error(), "upgrade this worker") {
				t.Errorf("decode %q: got %v, want ErrNewer with the remedy", fields, err)
			}
		})
	}
	if _, err := wire.DecodeBody("v2 whatever\n"); !errors.Is(err, wire.ErrNewer) {
		t.Errorf("decode body of version 2: got %v, want ErrNewer", err)
	}
}

func TestCheckRefusesWhatWouldNotDecode(t *testing.T) {
	t.Parallel()
	for want, task := range map[string]wire.Task{
		`task ID "x": use a ULID`:               {ID: "x", Function: "f"},
		`task ID "": use a ULID`:                {Function: "f"},
		`function name "a b"`:                   {ID: taskID, Function: "a b"},
		`reply stream "r": use a ULID`:          {ID: taskID, Function: "f", Reply: "r"},
		`timeout -1s: use 1ms to`:               {ID: taskID, Function: "f", Timeout: -time.Second},
		`attempts -1: use 1 to`:                 {ID: taskID, Function: "f", MaxAttempts: -1},
		`header name "a=b": use 1 to 128 lette`: {ID: taskID, Function: "f", Headers: map[string]string{"a=b": ""}},
	} {
		if err := task.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("check %+v: got %v, want %q", task, err, want)
		}
	}
}

func TestRawShowsWhatCouldNotBeDecodedCutShort(t *testing.T) {
	t.Parallel()
	if got, want := wire.Raw([]string{"a\n", "\x1b[31mé"}), `"a\n" "\x1b[31mé"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	long := slices.Repeat([]string{strings.Repeat("é", 3000)}, 50)
	if got := wire.Raw(long); len(got) > 4096 || !strings.HasPrefix(got, `"éé`) {
		t.Errorf("got %d bytes starting %.20s, want at most 4096", len(got), got)
	}
}

func TestParseLease(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		"17.5 host pid": {"17.5", "host pid"}, "17.5 ": {"17.5", ""}, "17.5": {"17.5", ""}, "": {"", ""},
	} {
		if fence, value := wire.ParseLease(text); fence != want[0] || value != want[1] {
			t.Errorf("parse %q: got %q, %q, want %q", text, fence, value, want)
		}
	}
}

func TestDecodeOwnGivesALargePayloadItsField(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100, 4095, 4096, 100_000} {
		one := wire.Task{ID: "01J0000000000000000000000A", Function: "f", Attempt: 1, Headers: map[string]string{"a": "b"}, Payload: bytes.Repeat([]byte("x"), size)}
		fields := one.Fields()
		got, err := wire.DecodeOwn(fields)
		if err != nil || !reflect.DeepEqual(got, one) {
			t.Fatalf("%d bytes: %v, %v", size, got, err)
		}
		for i := range got.Payload {
			got.Payload[i] = 'y'
		}
		if shared := strings.HasSuffix(fields[1], "y"); shared != (size >= 4096) {
			t.Errorf("%d bytes: in the memory of the field: %t", size, shared)
		}
		_ = append(got.Payload, 'z')
		if got.Payload = one.Payload; !reflect.DeepEqual(got, one) {
			t.Errorf("%d bytes: the rest has changed with the payload: %v", size, got)
		}
	}
}
