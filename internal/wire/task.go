package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// Version is the format of the entries this code writes; readers refuse newer ones.
const Version = 1

// Field is the name of the one field of an entry: "v" and the format version.
const Field = "v1"

// IDLength is how many characters a ULID has; an encoded task begins with its own.
const IDLength = 26

const (
	headerRoom   = 128 // bytes that most headers fit
	maxErrorText = 256
	maxRawText   = 4096
	maxAttempts  = 1 << 30
	maxTimeout   = 1 << 40 // ms
)

// ErrNewer says that an entry was written by a newer version of Worker Machine than this one.
var ErrNewer = errors.New("wire: the entry is of a newer format version: upgrade this worker")

// MalformedError says why an entry is not a task.
type MalformedError struct{ Why string }

// Error describes what is wrong with the entry.
func (e *MalformedError) Error() string { return "wire: malformed entry: " + e.Why }

// Task is one unit of work as it lies in a queue's stream.
type Task struct {
	ID          string            // ULID
	Function    string            // what to run
	Attempt     int               // 1 for the first
	MaxAttempts int               // 0 leaves it to the worker
	Timeout     time.Duration     // of one attempt, whole milliseconds; 0 leaves it to the worker
	Reply       string            // ULID of the reply stream, "" for none
	Unique      string            // hash of the uniqueness key, "" for none
	Promoted    bool              // it came through `due`, so its client does not know its entry ID
	LastError   string            // of the attempt before, cut to 256 bytes
	Headers     map[string]string // names match the rule of [CheckName]
	Items       int               // of a chunk, see [Task.SplitItems]; 0 for a task that is one
	Payload     []byte
}

// Header encodes everything but the payload, readable by a person:
//
//	<id> <function>[ a=<attempt>][ max=<n>][ to=<ms>][ re=<ulid>][ uq=<hash>][ n=<items>][ d=1][ e=<error>][ h.<name>=<value>]
//
// Errors and header values are escaped as in a URL query; what has its default value is left out.
func (t *Task) Header() string {
	return string(t.appendHeader(make([]byte, 0, headerRoom)))
}

func (t *Task) appendHeader(b []byte) []byte {
	b = append(append(append(b, t.ID...), ' '), t.Function...)
	if t.Attempt <= 1 && t.plain() {
		return appendText(b, "re", t.Reply)
	}
	b = appendInt(b, "a", int64(t.Attempt), 1)
	b = appendInt(b, "max", int64(t.MaxAttempts), 0)
	b = appendInt(b, "to", t.Timeout.Milliseconds(), 0)
	b = appendText(b, "re", t.Reply)
	b = appendText(b, "uq", t.Unique)
	b = appendInt(b, "n", int64(t.Items), 0)
	if t.Promoted {
		b = append(b, " d=1"...)
	}
	b = appendText(b, "e", url.QueryEscape(clip(t.LastError, maxErrorText)))
	for _, name := range sortedNames(t.Headers) {
		b = append(append(append(b, " h."...), name...), '=')
		b = append(b, url.QueryEscape(t.Headers[name])...)
	}
	return b
}

// plain tells whether only ID, function, attempt, reply and payload are set.
func (t *Task) plain() bool {
	return t.MaxAttempts == 0 && t.Timeout == 0 && t.Unique == "" && t.Items == 0 && !t.Promoted && t.LastError == "" && len(t.Headers) == 0
}

// Check reports why a task would not be one for those who decode it.
func (t *Task) Check() error {
	if !isULID(t.ID) {
		return fmt.Errorf("task ID %q: use a ULID of 26 characters, as NewID makes", clip(t.ID, 40))
	}
	if t.Reply != "" && !isULID(t.Reply) {
		return fmt.Errorf("reply stream %q: use a ULID of 26 characters", clip(t.Reply, 40))
	}
	if err := t.checkNumbers(); err != nil {
		return err
	}
	if err := CheckName("function", t.Function); err != nil {
		return err
	}
	for name := range t.Headers {
		if err := CheckName("header", name); err != nil {
			return err
		}
	}
	return nil
}

func (t *Task) checkNumbers() error {
	if t.Timeout < 0 || t.Timeout > maxTimeout*time.Millisecond {
		return fmt.Errorf("timeout %v: use 1ms to %v, or 0 for the worker's", t.Timeout, maxTimeout*time.Millisecond)
	}
	if t.MaxAttempts < 0 || t.MaxAttempts > maxAttempts {
		return fmt.Errorf("attempts %d: use 1 to %d, or 0 for the worker's", t.MaxAttempts, maxAttempts)
	}
	if t.Items < 0 || t.Items > MaxItems || t.Items > 0 && !IsChunkID(t.ID) {
		return fmt.Errorf("chunk %s of %d items: use at most %d, and an ID whose lowest 16 bits are zero", t.ID, t.Items, MaxItems)
	}
	return nil
}

// Encode is the value of an entry's field [Field]: "<header>\n<payload>".
func (t *Task) Encode() []byte { return t.Append(make([]byte, 0, headerRoom+len(t.Payload))) }

// Append adds what Encode returns to b.
func (t *Task) Append(b []byte) []byte {
	b = t.appendHeader(b)
	return append(append(b, '\n'), t.Payload...)
}

// Fields is the entry as XADD stores it.
func (t *Task) Fields() []string { return []string{Field, string(t.Encode())} }

// Body encodes the task for the hash of tasks that are due later: "<field> <value>". It is marked as promoted already, since that is how it
// leaves the hash.
func (t *Task) Body() string {
	later := *t
	later.Promoted = true
	return Field + " " + string(later.Encode())
}

// Decode reads the fields of an entry: name, value, name, value, and so on. Unknown fields are ignored.
// It returns [ErrNewer] or a [*MalformedError] for what is no task of this version, and never panics.
func Decode(fields []string) (Task, error) {
	return decodeFields(fields, func(payload string) []byte { return []byte(payload) })
}

// DecodeOwn is [Decode] for fields that came off the wire and that nobody else keeps: a large payload is not copied, and the memory of its
// field is the task's to write to.
func DecodeOwn(fields []string) (Task, error) { return decodeFields(fields, own) }

const copyBelow = 4 << 10 // bytes of a payload that would keep the memory alive that many share

func own(payload string) []byte {
	if len(payload) < copyBelow {
		return []byte(payload)
	}
	return unsafe.Slice(unsafe.StringData(payload), len(payload)) //nolint:gosec // nobody else has this text, see DecodeOwn
}

func decodeFields(fields []string, bytesOf func(string) []byte) (Task, error) {
	if len(fields)%2 != 0 {
		return Task{}, &MalformedError{Why: "a field without a value"}
	}
	newer := 0
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == Field {
			return decodeText(fields[i+1], bytesOf)
		}
		newer = max(newer, version(fields[i]))
	}
	if newer > Version {
		return Task{}, fmt.Errorf("%w (it is of version %d, this is version %d)", ErrNewer, newer, Version)
	}
	return Task{}, &MalformedError{Why: "a field named " + Field + " is needed; was it added by hand?"}
}

// keepTogether is up to which length of a payload the header may keep the text alive that both came in.
const keepTogether = 256

// decodeText is [DecodeValue] for a text.
func decodeText(value string, bytesOf func(string) []byte) (Task, error) {
	header, payload, ok := strings.Cut(value, "\n")
	if !ok {
		return Task{}, &MalformedError{Why: "a task is a header, a line end, and the payload"}
	}
	if len(payload) > keepTogether {
		header = strings.Clone(header)
	}
	task, err := decodeHeader(header)
	if err != nil {
		return Task{}, err
	}
	task.Payload = bytesOf(payload)
	return task, nil
}

// DecodeValue reads what [Task.Encode] wrote. The payload is a part of value, which must not change any more.
func DecodeValue(value []byte) (Task, error) {
	end := bytes.IndexByte(value, '\n')
	if end < 0 {
		return Task{}, &MalformedError{Why: "a task is a header, a line end, and the payload"}
	}
	task, err := decodeHeader(string(value[:end]))
	if err != nil {
		return Task{}, err
	}
	task.Payload = value[end+1 : len(value) : len(value)]
	return task, nil
}

// DecodeBody reads what [Task.Body] wrote.
func DecodeBody(body string) (Task, error) {
	name, value, ok := strings.Cut(body, " ")
	if !ok {
		return Task{}, &MalformedError{Why: "a body is '" + Field + " <header>', a line end, and the payload"}
	}
	return Decode([]string{name, value})
}

// Raw renders the fields of an entry that could not be decoded, cut to 4 kB, for its dead letter.
func Raw(fields []string) string {
	var b strings.Builder
	for i, s := range fields {
		if b.Len() > maxRawText {
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Quote(clip(s, maxRawText)))
	}
	return clip(b.String(), maxRawText)
}

// version is the format version that a field's name tells, 0 for a name that tells none.
func version(name string) int {
	text, ok := strings.CutPrefix(name, "v")
	n, err := strconv.Atoi(text)
	if !ok || err != nil {
		return 0
	}
	return n
}

func decodeHeader(header string) (Task, error) {
	id, rest, _ := strings.Cut(header, " ")
	if !isULID(id) {
		return Task{}, &MalformedError{Why: "the header must start with a ULID of 26 characters"}
	}
	function, rest, more := strings.Cut(rest, " ")
	if err := CheckName("function", function); err != nil {
		return Task{}, &MalformedError{Why: err.Error()}
	}
	task := Task{ID: id, Function: function, Attempt: 1}
	for more {
		var pair string
		pair, rest, more = strings.Cut(rest, " ")
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return Task{}, &MalformedError{Why: fmt.Sprintf("header token %q has no '='", clip(pair, 40))}
		}
		if err := task.set(name, value); err != nil {
			return Task{}, &MalformedError{Why: fmt.Sprintf("header token %q: %v", clip(pair, 40), err)}
		}
	}
	return task, nil
}

// set takes one name=value of a header; unknown names are ignored, so that minor versions may add some.
func (t *Task) set(name, value string) (err error) {
	switch name {
	case "a":
		t.Attempt, err = count(value)
	case "max":
		t.MaxAttempts, err = count(value)
	case "to":
		var ms int64
		ms, err = number(value, 1, maxTimeout)
		t.Timeout = time.Duration(ms) * time.Millisecond
	case "re":
		if !isULID(value) {
			return errors.New("no ULID")
		}
		t.Reply = value
	case "uq":
		err = CheckName("hash", value)
		t.Unique = value
	case "n":
		var n int64
		n, err = number(value, 1, MaxItems)
		t.Items = int(n)
		if err == nil && !IsChunkID(t.ID) {
			err = errors.New("the lowest 16 bits of the ID of a chunk are zero")
		}
	case "d":
		t.Promoted = value == "1"
	case "e":
		t.LastError, err = url.QueryUnescape(value)
		t.LastError = clip(t.LastError, maxErrorText)
	default:
		return t.setHeader(name, value)
	}
	return err
}

func (t *Task) setHeader(name, value string) error {
	name, ok := strings.CutPrefix(name, "h.")
	if !ok {
		return nil
	}
	if err := CheckName("header", name); err != nil {
		return err
	}
	text, err := url.QueryUnescape(value)
	if err != nil {
		return err
	}
	if t.Headers == nil {
		t.Headers = make(map[string]string)
	}
	t.Headers[name] = text
	return nil
}

func count(text string) (int, error) {
	n, err := number(text, 1, maxAttempts)
	return int(n), err
}

func number(text string, low, high int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("want a number from %d to %d", low, high)
	}
	return n, nil
}

// CheckID reports what is wrong with the ID of a task, a session or a run.
func CheckID(kind, id string) error {
	if isULID(id) {
		return nil
	}
	return fmt.Errorf("%s ID %q: use a ULID of 26 characters", kind, clip(id, 40))
}

func isULID(s string) bool {
	if len(s) != IDLength || s[0] > '7' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z' || c == 'I' || c == 'L' || c == 'O' || c == 'U') {
			return false
		}
	}
	return true
}

func appendInt(b []byte, name string, n, standard int64) []byte {
	if n <= standard {
		return b
	}
	b = append(append(append(b, ' '), name...), '=')
	return strconv.AppendInt(b, n, 10)
}

func appendText(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	b = append(append(append(b, ' '), name...), '=')
	return append(b, text...)
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
