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

	mu   sync.Mutex
	conn net.Conn // the last that was made
	turn int      // of what may be given up
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
	o := l.client.Options()
	if err = l.conn.SetWriteDeadline(after(o.WriteTimeout)); err == nil {
		_, err = l.conn.Write(out)
	}
	if err == nil {
		err = l.conn.SetReadDeadline(after(o.ReadTimeout))
	}
	answers := make([]any, len(commands))
	for i := 0; i < len(answers) && err == nil; i++ {
		answers[i], err = readAnswer(l.in, 0)
	}
	return answers, err
}

// after is a deadline; none where there is no limit.
func after(d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
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

// Guard breaks the connection when ctx ends before release is called: the call under way fails, and it is not known what became of it.
func (l *Line) Guard(ctx context.Context) (release func()) {
	l.mu.Lock()
	l.turn++
	turn := l.turn
	l.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { l.cut(turn) })
	return func() {
		if !stop() { // it has begun, and must not meet the next call
			l.mu.Lock()
			l.turn++
			l.mu.Unlock()
		}
	}
}

// cut breaks the connection, if it is still the turn of whoever asks.
func (l *Line) cut(turn int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if turn == l.turn && l.conn != nil {
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

// readAnswer reads one answer of RESP2 or RESP3, of those kinds that scripts and the commands of lanes give.
func readAnswer(in *bufio.Reader, depth int) (any, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' || depth > mostDepth {
		return nil, errProtocol
	}
	switch string(line) {
	case "+OK\r\n":
		return "OK", nil
	case "+QUEUED\r\n":
		return "QUEUED", nil
	}
	kind, text := line[0], line[1:len(line)-2]
	switch kind {
	case '+':
		return string(text), nil
	case '-':
		return serverError(text), nil
	case '_':
		return nil, nil
	case ':', '$', '*':
		return readSized(in, kind, text, depth)
	default:
		return nil, errProtocol
	}
}

// readSized reads what a number says: itself, or so much that follows; -1 is nothing.
func readSized(in *bufio.Reader, kind byte, text []byte, depth int) (any, error) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	switch {
	case err != nil:
		return nil, errProtocol
	case kind == ':':
		return n, nil
	case n == -1:
		return nil, nil
	case n < 0 || n > mostLength:
		return nil, errProtocol
	case kind == '$':
		return readText(in, n)
	default:
		return readArray(in, n, depth+1)
	}
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
