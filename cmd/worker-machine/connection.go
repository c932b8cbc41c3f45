package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/redisurl"
	"github.com/athoune/worker-machine/stream"
)

const (
	dialPatience = 2 * time.Second // of the first connection: a wrong address should be told soon
	oldestRedis  = 7
)

// target reads the address of the Redis.
func (a *app) target() (*redisurl.Target, error) {
	raw, from := a.redis, "--redis"
	if raw == "" {
		raw, from = a.getenv("REDIS_URL"), "REDIS_URL"
	}
	if raw == "" {
		raw = defaultRedis
	}
	target, err := redisurl.Parse(raw)
	if err != nil {
		return nil, usagef("%s: %w", from, err)
	}
	return target, nil
}

// connection is a Redis that answered.
type connection struct {
	target  *redisurl.Target
	client  redis.UniversalClient
	store   *stream.Store
	trouble *trouble // nil of a command that does not go on trying
	stop    context.CancelFunc
}

// connect finds the Redis and makes sure that it can be used, within a few seconds.
func (a *app) connect(ctx context.Context) (*connection, error) {
	c, err := a.reach(ctx)
	if err != nil {
		return nil, err
	}
	return a.with(c, a.log)
}

// connectPatiently is connect for commands that go on while Redis is away, and tell.
func (a *app) connectPatiently(ctx context.Context) (*connection, error) {
	c, err := a.reach(ctx)
	if err != nil {
		return nil, err
	}
	watched, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	c.trouble = &trouble{app: a, addr: c.target.Addr(), client: c.client, ctx: watched}
	return a.with(c, c.trouble.quiet(a.log))
}

// reach makes sure that the Redis can be used.
func (a *app) reach(ctx context.Context) (*connection, error) {
	target, err := a.target()
	if err != nil {
		return nil, err
	}
	if err := check(ctx, target, a.prefix); err != nil {
		return nil, err
	}
	return &connection{target: target, client: target.Client(nil)}, nil
}

// with adds the store.
func (a *app) with(c *connection, log *zap.Logger) (_ *connection, err error) {
	if c.store, err = stream.NewStore(c.client, stream.Config{Prefix: a.prefix, Logger: log, Hooks: a.hooks}); err != nil {
		_ = c.client.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the connections.
func (c *connection) Close() {
	if c.trouble != nil {
		c.stop()
		c.trouble.pings.Wait()
	}
	_ = c.store.Close()
	_ = c.client.Close()
}

// check asks the Redis once, without the many retries of a client that works.
func check(ctx context.Context, target *redisurl.Target, prefix string) error {
	probe := target.Client(func(t *redisurl.Tuning) {
		t.MaxRetries, t.DialAttempts = -1, 1
		if t.DialTimeout == 0 {
			t.DialTimeout = dialPatience
		}
		if t.ReadTimeout == 0 {
			t.ReadTimeout = dialPatience
		}
	})
	defer probe.Close()
	limited, cancel := context.WithTimeout(ctx, 2*dialPatience)
	defer cancel()
	if err := probe.Ping(limited).Err(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return explain(target, err)
	}
	info, err := probe.Info(limited, "server").Result()
	if err != nil {
		// A server without INFO, or a user who may not use it, is left to the commands that need it; but for a node of a cluster,
		// which would send every command elsewhere.
		if err := probe.Exists(limited, prefix+":sessions").Err(); isMoved(err) {
			return explain(target, err)
		}
		return nil
	}
	if version := inInfo(info, "redis_version"); version != "" && major(version) < oldestRedis {
		return fmt.Errorf("the Redis at %s is version %s; Worker Machine needs Redis 7.0 or Valkey 8 or newer", target.Addr(), version)
	}
	if target.Mode != redisurl.Cluster && inInfo(info, "redis_mode") == "cluster" {
		return needsCluster(target)
	}
	return nil
}

// isMoved tells the answers of a cluster's node to a client that takes it for a single server.
func isMoved(err error) bool {
	return redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "ASK") || redis.HasErrorPrefix(err, "CLUSTERDOWN")
}

func needsCluster(target *redisurl.Target) error {
	scheme, addr := "redis+cluster", target.Addr()
	if target.Secure() {
		scheme = "rediss+cluster"
	}
	remedy := addr
	if _, _, err := net.SplitHostPort(addr); err != nil || target.Mode != redisurl.Single {
		remedy = "host:port" // a socket, or what sentinels name
	}
	return fmt.Errorf("the Redis at %s is a node of a cluster, and the URL names a single server.\n"+
		"Write the scheme %[2]s, as in %[2]s://host:port; here: %[2]s://%[3]s", addr, scheme, remedy)
}

// inInfo is the value of a field of INFO.
func inInfo(info, field string) string {
	lines := bufio.NewScanner(strings.NewReader(info))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), field+":"); ok {
			return plain.Short(strings.TrimSpace(value), 20)
		}
	}
	return ""
}

func major(version string) int {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	if err != nil {
		return oldestRedis
	}
	return n
}

const noRedis = `no Redis answers at %s (%v).
Ways to get one:
  worker-machine dev                            a small one for trying out; keeps nothing
  apt-get install redis-server                  or: dnf install valkey, apk add redis, brew install redis
  docker run --rm -p 127.0.0.1:6379:6379 redis  in a container
  or, for one that runs elsewhere, --redis redis://host:port or the variable REDIS_URL`

// explain says what is wrong with a Redis that did not answer as it should, and what to do. No error of this function holds a
// password: go-redis and Redis do not put it into theirs, and the URL is not shown.
func explain(target *redisurl.Target, err error) error {
	addr := target.Addr()
	text := plain.Line(err.Error())
	switch {
	case isAny(text, "WRONGPASS", "NOAUTH", "AUTH <password>", "AUTH failed", "without any password configured"):
		return fmt.Errorf("authentication refused by %s: the user or the password is wrong, or one is needed.\n"+
			"Give them in the URL, redis://user:password@host:port, best in the variable REDIS_URL; special characters are "+
			"percent-encoded (/ is %%2F, @ is %%40)", addr)
	case isAny(text, "NOPERM"):
		return fmt.Errorf("the Redis at %s does not let this user do what Worker Machine needs: %s", addr, text)
	case isTLS(err):
		return fmt.Errorf("no TLS connection to %s: %s.\n"+
			"rediss:// is for servers with TLS, redis:// for those without; a private authority's certificate is given with ?ca=FILE", addr, text)
	case isAny(text, "redis: can't parse", "redis: invalid reply", "reading from the server"):
		return fmt.Errorf("what answers at %s does not speak Redis (%s)", addr, plain.Short(text, 80))
	case target.Mode == redisurl.Sentinel && errors.Is(err, redis.Nil):
		return fmt.Errorf("the sentinels at %s know no primary named %s", strings.Join(target.Addrs, ", "), plain.Line(target.Master))
	case target.Mode != redisurl.Cluster && isMoved(err):
		return needsCluster(target)
	case isReply(err):
		return fmt.Errorf("the Redis at %s refuses to serve: %s", addr, text)
	}
	cause := why(err)
	if target.Secure() && isLate(err) {
		cause += "; a server without TLS says nothing to a client with it: is it redis:// that you want?"
	}
	return fmt.Errorf(noRedis, addr, cause)
}

func isAny(text string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// isReply tells an error that the server sent from one of the connection.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

func isTLS(err error) bool {
	var (
		record    tls.RecordHeaderError
		alert     tls.AlertError
		unknown   x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		unchecked *tls.CertificateVerificationError
	)
	return errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &unknown) || errors.As(err, &name) ||
		errors.As(err, &invalid) || errors.As(err, &unchecked)
}

func isLate(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// why is the innermost cause that a person understands.
func why(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case isLate(err):
		return "no answer within " + dialPatience.String()
	case errors.As(err, &dns):
		return plain.Line(dns.Error())
	case errors.As(err, &op):
		return plain.Line(op.Err.Error())
	}
	return plain.Line(err.Error())
}
