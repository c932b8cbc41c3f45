package conn

import (
	"bufio"
	"context"
	"encoding"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	lineBuffer = 32 << 10
	mostKept   = 2 << 20 // a request buffer that has grown above it is let go
)

// Line is one connection for calls that come one after the other. go-redis makes it and logs in; the calls themselves go past it: they are so
// short that what it does for each of them takes as long as Redis does. A call under way can be given up from elsewhere.
type Line struct {
	client *redis.Client
	maker  *redis.Conn   // what go-redis holds the connection by
	in     *bufio.Reader // of the connection, nil while there is none
	out    []byte

	reading, writing allowance

	mu      sync.Mutex
	conn    net.Conn        // the last that was made
	guarded bool            // a call is under way that may be given up
	watch   *watch          // of a context, nil for none
	last    <-chan struct{} // of the context that guarded the last call
}

// watch breaks a connection when a context ends.
type watch struct {
	done <-chan struct{}
	stop func() bool
	keep bool // for the calls that follow: they have the same context
}

// NewLine returns a Line beside a client. It dials at the first call, and sends none twice.
func NewLine(from *redis.Client) (*Line, error) {
	l := &Line{}
	own, err := Derive(from, Options{PoolSize: 1, MaxRetries: -1, dialed: l.dialed})
	if err != nil {
		return nil, err
	}
	l.client = own.(*redis.Client) //nolint:forcetypeassert // it is what from is
	return l, nil
}

// Close closes the connection. A call under way fails.
func (l *Line) Close() error {
	err := l.client.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unwatch()
	if l.conn != nil {
		_ = l.conn.Close() // if go-redis has not: what it has to say the call under way says
	}
	return err
}

// Call sends commands in one write and returns an answer for each: a string, int64, []any, nil, or an error of the server. Arguments are texts,
// pointers to texts, bytes, numbers, and what marshals itself. An error says that it is not known which of the commands have run,
// unless [NotSent] says that none has. One goroutine calls at a time.
func (l *Line) Call(ctx context.Context, commands ...[]any) ([]any, error) {
	if err := l.connect(ctx); err != nil {
		return nil, &notSentError{fmt.Errorf("conn: connect: %w", err)}
	}
	answers, err := l.exchange(commands)
	if err != nil {
		l.drop()
		return nil, fmt.Errorf("conn: %v: %w", commands[0][0], err)
	}
	for _, answer := range answers {
		if err, ok := answer.(error); ok && !redis.HasErrorPrefix(err, "NOSCRIPT") {
			l.drop() // it may lead to a server that has become a replica, or does not know us any more
			break
		}
	}
	return answers, nil
}

func (l *Line) exchange(commands [][]any) ([]any, error) {
	out, err := l.out[:0], error(nil)
	for _, args := range commands {
		if out, err = appendCommand(out, args); err != nil {
			return nil, &notSentError{err}
		}
	}
	if l.out = out; cap(out) > mostKept {
		l.out = nil
	}
	err = l.send(out)
	answers := make([]any, len(commands))
	for i := 0; i < len(answers) && err == nil; i++ {
		answers[i], err = readAnswer(l.in, 0)
	}
	return answers, err
}

// Pass sends a request of commands that are encoded in one write, and shows each value of their answers as it comes: how deep it lies in
// arrays, its first byte ('_' for nothing), and the error of the server that it is, if it is one. It costs no memory. Errors are those of Call.
func (l *Line) Pass(ctx context.Context, request []byte, answers int, see func(depth int, kind byte, refusal error)) error {
	if err := l.connect(ctx); err != nil {
		return &notSentError{fmt.Errorf("conn: connect: %w", err)}
	}
	err, refused := l.send(request), false
	for i := 0; i < answers && err == nil; i++ {
		var kind byte
		kind, err = passAnswer(l.in, 0, see)
		refused = refused || kind == '-'
	}
	if err != nil || refused { // see Call
		l.drop()
	}
	if err != nil {
		return fmt.Errorf("conn: pass: %w", err)
	}
	return nil
}

// send writes a request. The answers may take their time from now on.
func (l *Line) send(request []byte) error {
	o := l.client.Options()
	if deadline, ok := l.writing.next(o.WriteTimeout); ok {
		if err := l.conn.SetWriteDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := l.conn.Write(request); err != nil {
		return err
	}
	if deadline, ok := l.reading.next(o.ReadTimeout); ok {
		return l.conn.SetReadDeadline(deadline)
	}
	return nil
}

// allowance is a deadline that each call finds far enough ahead. To set it takes longer than to look.
type allowance struct {
	until time.Time
	none  bool // it was set to none
}

// next is the deadline to set for a call that may take d, without limit where that is not above 0; false while the old one will do. It is up to a
// third of d later.
func (a *allowance) next(d time.Duration) (time.Time, bool) {
	if d <= 0 {
		first := !a.none
		a.none = true
		return time.Time{}, first
	}
	now := time.Now()
	if a.until.Sub(now) >= d {
		return a.until, false
	}
	a.until = now.Add(d + d/3)
	return a.until, true
}

// connect makes the connection, if there is none.
func (l *Line) connect(ctx context.Context) error {
	if l.in != nil {
		return nil
	}
	maker := l.client.EphemeralConn()
	if err := maker.Ping(ctx).Err(); err != nil {
		_ = maker.Close() // err says it all
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.maker, l.in = maker, bufio.NewReaderSize(l.conn, lineBuffer)
	l.reading, l.writing = allowance{}, allowance{} // go-redis has set others
	return nil
}

func (l *Line) drop() {
	_ = l.conn.Close()
	_ = l.maker.Close()
	l.in, l.maker = nil, nil
}

func (l *Line) dialed(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
}

// Guard breaks the connection when ctx ends before Release is called: the call under way fails, and it is not known what became of it.
func (l *Line) Guard(ctx context.Context) {
	l.mu.Lock()
	done := ctx.Done()
	again := done == l.last
	l.guarded, l.last = true, done
	if l.watch != nil && l.watch.done == done { // if ctx has ended since, cut waits for the mutex
		l.mu.Unlock()
		return
	}
	l.unwatch()
	w := &watch{done: done, keep: again}
	l.watch = w
	l.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { l.cut(w) }) // which may call it at once
	l.mu.Lock()
	defer l.mu.Unlock()
	w.stop = stop
	if l.watch != w { // closed meanwhile, or cut
		stop()
	}
}

// Release ends what Guard began. Where one call after the other has the same context, it goes on being watched: that takes longer than the rest.
func (l *Line) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guarded = false
	if l.watch != nil && !l.watch.keep {
		l.unwatch()
	}
}

// unwatch lets the context go. mu is held.
func (l *Line) unwatch() {
	if l.watch == nil {
		return
	}
	if l.watch.stop != nil { // otherwise Guard is about to
		l.watch.stop() // what has begun finds another watch, or none
	}
	l.watch = nil
}

// cut breaks the connection, if a call is under way that has this watch.
func (l *Line) cut(w *watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watch != w {
		return
	}
	l.watch = nil
	if l.guarded && l.conn != nil {
		_ = l.conn.Close() // the call tells
	}
}

func appendCommand(b []byte, args []any) ([]byte, error) {
	b = appendNumber(b, '*', int64(len(args)))
	for _, arg := range args {
		switch v := arg.(type) {
		case string:
			b = append(appendNumber(b, '$', int64(len(v))), v...)
		case *string:
			b = append(appendNumber(b, '$', int64(len(*v))), *v...)
		case []byte:
			b = append(appendNumber(b, '$', int64(len(v))), v...)
		case int:
			text := strconv.Itoa(v)
			b = append(appendNumber(b, '$', int64(len(text))), text...)
		case encoding.BinaryMarshaler:
			data, err := v.MarshalBinary()
			if err != nil {
				return b, fmt.Errorf("conn: argument %T: %w", arg, err)
			}
			b = append(appendNumber(b, '$', int64(len(data))), data...)
		default:
			return b, fmt.Errorf("conn: argument of type %T", arg)
		}
		b = append(b, "\r\n"...)
	}
	return b, nil
}

func appendNumber(b []byte, kind byte, n int64) []byte {
	return append(strconv.AppendInt(append(b, kind), n, 10), "\r\n"...)
}

// serverError is what the server answered; go-redis knows it for one.
type serverError string

// Error is the text of the server.
func (e serverError) Error() string { return string(e) }

// RedisError marks it.
func (serverError) RedisError() {}

// Bounds of what is believed. What lanes are answered is far below.
const (
	mostDepth  = 8       // of answers in answers
	mostLength = 1 << 20 // of a text or an array
)

var errProtocol = errors.New("unexpected answer of the server")

// readHead reads the first line of an answer of RESP2 or RESP3, of those kinds that scripts and the commands of lanes give: its kind, '_' for
// each kind of nothing, its text, and the number that the text of a kind with one is.
func readHead(in *bufio.Reader, depth int) (kind byte, text []byte, n int64, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, nil, 0, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' || depth > mostDepth {
		return 0, nil, 0, errProtocol
	}
	kind, text = line[0], line[1:len(line)-2]
	switch kind {
	case '+', '-', '_':
		return kind, text, 0, nil
	case ':', '$', '*':
		return readNumber(kind, text)
	default:
		return 0, nil, 0, errProtocol
	}
}

// readNumber is readHead for the kinds with a number.
func readNumber(kind byte, text []byte) (byte, []byte, int64, error) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	switch {
	case err != nil:
		return 0, nil, 0, errProtocol
	case kind == ':':
		return kind, text, n, nil
	case n == -1:
		return '_', nil, 0, nil
	case n < 0 || n > mostLength:
		return 0, nil, 0, errProtocol
	default:
		return kind, text, n, nil
	}
}

// readAnswer reads one answer.
func readAnswer(in *bufio.Reader, depth int) (any, error) {
	kind, text, n, err := readHead(in, depth)
	if err != nil {
		return nil, err
	}
	switch kind {
	case '+':
		if string(text) == "OK" {
			return "OK", nil
		}
		return string(text), nil
	case '-':
		return serverError(text), nil
	case ':':
		return n, nil
	case '$':
		return readText(in, n)
	case '*':
		return readArray(in, n, depth+1)
	default:
		return nil, nil
	}
}

// passAnswer reads one answer and shows it, and what it holds. It returns its kind.
func passAnswer(in *bufio.Reader, depth int, see func(depth int, kind byte, refusal error)) (byte, error) {
	kind, text, n, err := readHead(in, depth)
	if err != nil {
		return 0, err
	}
	var refusal error
	if kind == '-' {
		refusal = serverError(text)
	}
	see(depth, kind, refusal)
	switch kind {
	case '$':
		_, err = in.Discard(int(n) + len(lineEnd))
	case '*':
		for ; n > 0 && err == nil; n-- {
			_, err = passAnswer(in, depth+1, see)
		}
	}
	return kind, err
}

func readArray(in *bufio.Reader, n int64, depth int) ([]any, error) {
	answers := make([]any, 0, min(n, 1024))
	for range n {
		answer, err := readAnswer(in, depth)
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

func readText(in *bufio.Reader, n int64) (string, error) {
	text := make([]byte, n+2)
	if _, err := io.ReadFull(in, text); err != nil {
		return "", err
	}
	if string(text[n:]) != "\r\n" {
		return "", errProtocol
	}
	return string(text[:n]), nil
}
