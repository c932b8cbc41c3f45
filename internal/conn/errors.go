package conn

import (
	"context"
	"errors"
	"net"

	"github.com/redis/go-redis/v9"
)

// notSentError marks an error from before a command was sent.
type notSentError struct{ error }

// Unwrap returns the error itself.
func (e *notSentError) Unwrap() error { return e.error }

// NotSent tells whether a command that failed so has surely not run: the server refused it, or was never reached.
// After any other error it may have run, and only its reply is lost.
func NotSent(err error) bool {
	if _, ok := errors.AsType[*notSentError](err); ok {
		return true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	return isRefusal(err) || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted)
}

// isRefusal tells whether the server itself answered with an error.
func isRefusal(err error) bool {
	_, ok := errors.AsType[redis.Error](err)
	return ok && !errors.Is(err, redis.Nil)
}

// IsNoGroup tells whether the consumer group, or its stream, is not there: it was never made, or has been lost.
func IsNoGroup(err error) bool { return redis.HasErrorPrefix(err, "NOGROUP") }

// IsUnblocked tells whether a blocked read ended because its stream was deleted or moved to another server.
func IsUnblocked(err error) bool { return redis.HasErrorPrefix(err, "UNBLOCKED") }

// IsFull tells whether the server refused a write for want of memory or disk.
func IsFull(err error) bool {
	return redis.HasErrorPrefix(err, "OOM") || redis.HasErrorPrefix(err, "MISCONF")
}

// IsAuth tells whether the server refused the user or one of its commands.
func IsAuth(err error) bool {
	for _, prefix := range []string{"NOAUTH", "WRONGPASS", "NOPERM"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return redis.HasErrorPrefix(err, "AUTH") // "ERR AUTH <password> called without any password configured"
}

// IsDone tells whether an error comes from a context that ended.
func IsDone(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
