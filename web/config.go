package web

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// Role is what a caller may do. A higher one includes those below it.
type Role = guard.Role

// The roles, lowest first.
const (
	Read    = guard.Read    // look, but at no payloads
	Operate = guard.Operate // enqueue, call, pause, cancel, retry, replay; and see payloads
	Admin   = guard.Admin   // delete and purge
)

// ParseRole reads the name of a role: read, operate or admin.
func ParseRole(name string) (Role, error) { return guard.ParseRole(name) }

// Key lets whoever knows its token in, with a role.
type Key = guard.Key

// NewKey makes a key of a token of at least 43 random characters, which 32 bytes are in base64.
func NewKey(role Role, token string) (Key, error) { return guard.NewKey(role, token) }

// NewToken makes a token of 32 random bytes.
func NewToken() string { return guard.NewToken() }

// ReadKeys reads keys, one a line: a role (read, operate or admin), a colon or a blank, and a token. Lines that begin with # are
// skipped. Errors name lines, and never hold a token.
func ReadKeys(r io.Reader) ([]Key, error) {
	keys, err := guard.ParseKeys(r)
	if err != nil {
		return nil, fmt.Errorf("web: read keys: %w", err)
	}
	return keys, nil
}

// ClientCA is an authority whose client certificates let their holders in, with a role. The TLS configuration of the server has to
// verify them: see [Handler.TLS].
type ClientCA struct {
	Role         Role
	Certificates []*x509.Certificate
}

// Config tunes a [Handler]. The zero value is ready to use: it serves callers on this machine, who may do everything.
type Config struct {
	Base        string              // path it is mounted at, such as "/jobs"; default the root
	Keys        []Key               // of callers. Without Keys and ClientCAs only callers on this machine are served
	ClientCAs   []ClientCA          // of client certificates
	Hosts       []string            // names it is called by, besides localhost and the address a connection came in by
	Secure      bool                // a proxy in front of it speaks TLS: cookies are for TLS only
	Session     time.Duration       // how long a login lasts; default 12h
	Remember    time.Duration       // how long an Idempotency-Key is known; default 24h
	Client      stream.ClientConfig // of the client that enqueues
	Metrics     http.Handler        // of /metrics, for callers with the role Read; nil for none
	NoDashboard bool                // serve the API only
	Limits      Limits

	// Redact returns what callers may see of a payload or a result; nil shows them as they are. It must not change what it is given.
	Redact func(queue, function string, payload []byte) []byte
}

// Limits bound what callers can make the server hold. Zero fields have their defaults.
type Limits struct {
	Body        int64         // most bytes of a request with one task, and of each line where there are many; default 1 MiB and the room for base64, at most 64 MiB
	Bulk        int64         // most bytes of a request with many tasks or inputs; default 16 MiB, at most 64 MiB
	Connections int           // of Serve; default 1024
	Streams     int           // batches under way; default 32
	Viewers     int           // dashboard pages that are kept live; default 100
	Waiters     int           // requests that wait for an outcome; default 256
	Wait        time.Duration // how long one of them may wait; default 60s, at most 10m
}

const (
	mostBody     = 64 << 20
	defaultBody  = 1<<20 + 512<<10
	defaultBulk  = 16 << 20
	defaultConns = 1024
	mostWait     = 10 * time.Minute
)

var basePath = regexp.MustCompile(`^(/[A-Za-z0-9][A-Za-z0-9._-]*)*$`)

// check fills in what is not set, and reports all that is wrong.
func (c *Config) check() error {
	var bad []error
	report := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Errorf("web: "+format, args...))
		}
	}
	report(basePath.MatchString(c.Base), "Base: %.80q, write it like /jobs, with no slash at the end", c.Base)
	report(c.Base != "/api" && c.Base != "/api/v1", "Base: %s is a path of our own", c.Base)
	fill(&c.Remember, defaultTTL)
	report(c.Remember >= time.Second && c.Remember <= mostTTL, "Remember: %v, use 1s to %v", c.Remember, mostTTL)
	l := &c.Limits
	fill(&l.Body, defaultBody)
	fill(&l.Bulk, max(defaultBulk, l.Body))
	fill(&l.Connections, defaultConns)
	fill(&l.Streams, 32)
	fill(&l.Viewers, 100)
	fill(&l.Waiters, 256)
	fill(&l.Wait, time.Minute)
	report(l.Body >= 1 && l.Body <= mostBody, "Limits.Body: %d, use 1 to %d bytes", l.Body, mostBody)
	report(l.Bulk >= l.Body && l.Bulk <= mostBody, "Limits.Bulk: %d, use Limits.Body to %d bytes", l.Bulk, mostBody)
	report(l.Connections >= 1, "Limits.Connections: %d, use 1 or more", l.Connections)
	report(l.Streams >= 1, "Limits.Streams: %d, use 1 or more", l.Streams)
	report(l.Viewers >= 1, "Limits.Viewers: %d, use 1 or more", l.Viewers)
	report(l.Waiters >= 1, "Limits.Waiters: %d, use 1 or more", l.Waiters)
	report(l.Wait >= time.Second && l.Wait <= mostWait, "Limits.Wait: %v, use 1s to %v", l.Wait, mostWait)
	return errors.Join(bad...)
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
