package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// trouble tells the person at the terminal once that Redis is away, and once when it is back, in place of what every loop and every
// retry would say. What the library logs raises a suspicion; a PING, again and again, tells whether it is true and for how long.
type trouble struct {
	app    *app
	addr   string
	client redis.UniversalClient
	ctx    context.Context // of the connection
	pings  sync.WaitGroup

	mu      sync.Mutex
	pinging bool
	last    time.Time // of a failure; zero without one
}

const (
	pingEvery    = 500 * time.Millisecond
	pingPatience = 3 * time.Second
)

// failed takes note of an error in the log that tells of a Redis that is away.
func (t *trouble) failed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = time.Now()
	if !t.pinging && t.ctx.Err() == nil {
		t.pinging = true
		t.pings.Go(t.watch)
	}
}

// watch tells when Redis does not answer, and returns when it does.
func (t *trouble) watch() {
	again := time.NewTicker(pingEvery)
	defer again.Stop()
	for told := false; ; {
		err := t.ping()
		t.mu.Lock()
		if t.ctx.Err() != nil || err == nil || isReply(err) {
			t.pinging = false
			t.mu.Unlock()
			if told && t.ctx.Err() == nil {
				t.app.note("%s answers again", t.addr)
			}
			return
		}
		t.last = time.Now()
		t.mu.Unlock()
		if !told {
			told = true
			t.app.note("%s does not answer; going on trying", t.addr)
		}
		select {
		case <-t.ctx.Done():
		case <-again.C:
		}
	}
}

func (t *trouble) ping() error {
	ctx, cancel := context.WithTimeout(t.ctx, pingPatience)
	defer cancel()
	return t.client.Ping(ctx).Err()
}

// calm tells whether Redis has been answering for a while: as long as it has not, workers may be on their way back.
func (t *trouble) calm(since time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.pinging && (t.last.IsZero() || time.Since(t.last) > since)
}

// isAway tells the errors of a connection from those that a server answered, and from our own end.
func isAway(err error) bool {
	if err == nil || isReply(err) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		return false
	}
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) || errors.As(err, &dns) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// quiet is the logger for the library.
func (t *trouble) quiet(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return &quietCore{core, t} }))
}

// quietCore leaves out the library's line of a dead letter, since the hook of work tells the cause too; and warnings of a Redis
// that is away, for which there is one sentence of trouble. The level debug shows the latter all the same.
type quietCore struct {
	zapcore.Core
	trouble *trouble
}

const deadLetterLine = "a task is a dead letter"

// With adds fields.
func (c *quietCore) With(fields []zapcore.Field) zapcore.Core {
	return &quietCore{c.Core.With(fields), c.trouble}
}

// Enabled is true for all levels: retries are logged with debug.
func (c *quietCore) Enabled(zapcore.Level) bool { return true }

// Check asks for entries.
func (c *quietCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Message == deadLetterLine {
		return checked
	}
	return checked.AddCore(entry, c)
}

// Write writes an entry of an enabled level unless it is one of a Redis that is away.
func (c *quietCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	away := slices.ContainsFunc(fields, func(field zapcore.Field) bool {
		err, ok := field.Interface.(error)
		if ok && isAway(err) {
			c.trouble.failed()
			return true
		}
		return false
	})
	if !c.Core.Enabled(entry.Level) || away && entry.Level == zapcore.WarnLevel && !c.Core.Enabled(zapcore.DebugLevel) {
		return nil
	}
	return c.Core.Write(entry, fields)
}
