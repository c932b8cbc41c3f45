package web

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/problem"
)

const (
	retryFull = 5 * time.Second
	retryAway = 2 * time.Second
)

// problemOf is the problem that an error is to a client.
func problemOf(err error) *problem.Problem {
	var p *problem.Problem
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &large), errors.Is(err, stream.ErrPayloadTooLarge):
		return problem.New(http.StatusRequestEntityTooLarge, "too-large", "The request is too large", "Nothing of it was stored, but for what the answer names as stored.")
	case errors.Is(err, stream.ErrQueueFull):
		return problem.New(http.StatusTooManyRequests, "queue-full", "The queue is full", "Nothing was stored. Try again later.").Retry(retryFull)
	case errors.Is(err, stream.ErrUnknownOutcome):
		return problem.New(http.StatusServiceUnavailable, "unknown-outcome", "The task may be stored or not",
			"Redis stopped answering in between. With an Idempotency-Key it is safe to send it again.").Retry(retryAway)
	case errors.Is(err, inspect.ErrCursor):
		return problem.Invalid(problem.Field{In: "query", Field: "cursor", Detail: "it is none that this listing has given: begin without one"})
	case errors.Is(err, inspect.ErrNotFound), errors.Is(err, reclaim.ErrNoLetter), errors.Is(err, mapreduce.ErrNoRun):
		return problem.New(http.StatusNotFound, "not-found", "There is nothing of that ID or name", "It is not there, or not there any more.")
	case errors.Is(err, stream.ErrClosed):
		return stoppingProblem()
	case errors.Is(err, stream.ErrTooManyWaiters):
		return busyProblem()
	case isAway(err):
		return problem.New(http.StatusServiceUnavailable, "unavailable", "Redis does not serve", "Nothing was changed for certain. Try again later.").Retry(retryAway)
	}
	return problem.New(http.StatusInternalServerError, "internal", "The server made a mistake", "Its log says more, under the ID of this request.")
}

func stoppingProblem() *problem.Problem {
	return problem.New(http.StatusServiceUnavailable, "stopping", "The server stops", "Send it to another one, or again when it is back.").Retry(retryAway)
}

func busyProblem() *problem.Problem {
	return problem.New(http.StatusServiceUnavailable, "busy", "Too many requests wait or stream", "Try again later.").Retry(retryAway)
}

// isAway tells errors of a Redis that cannot be reached or does not serve now.
func isAway(err error) bool {
	var network net.Error
	var reply redis.Error
	switch {
	case errors.Is(err, stream.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, redis.ErrPoolTimeout),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, redis.ErrClosed):
		return true
	case errors.As(err, &reply):
		for _, word := range []string{
			"LOADING", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "TRYAGAIN", "NOREPLICAS", "MISCONF", "OOM", "BUSY", "NOAUTH", "WRONGPASS", "NOPERM", "ERR max number of clients",
		} {
			if strings.HasPrefix(reply.Error(), word) {
				return true
			}
		}
		return false
	}
	return errors.As(err, &network)
}
