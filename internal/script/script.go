// Package script holds every state change of a queue: one Lua file for each, and one typed Go function that runs it.
//
// All scripts are atomic, read the time from Redis, and may be retried: a repeated call finds its work done.
//
//	runner := script.NewRunner(client)
//	left, err := runner.Leave(ctx, keys, group, worker)
package script

import (
	"context"
	"crypto/sha1" //nolint:gosec // SCRIPT LOAD names a script by its SHA-1
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/mutant"
)

//go:embed lua/*.lua
var files embed.FS

// The scripts, loaded while the package loads, so that a missing one fails every run.
var (
	enqueueScript   = load("enqueue")
	commitScript    = load("commit")
	retryScript     = load("retry")
	buryScript      = load("bury")
	promoteScript   = load("promote")
	heartbeatScript = load("heartbeat")
	reclaimScript   = load("reclaim")
	ghostsScript    = load("ghosts")
	releaseScript   = load("release")
	leaveScript     = load("leave")
	aloneScript     = load("alone")
	cancelScript    = load("cancel")
	sessionScript   = load("session")
	missingScript   = load("missing")
	replayScript    = load("replay")
)

// source is the text of a script and its SHA-1.
type source struct{ text, sha string }

// lua is one script: as it is, and without its `#!lua` line for servers that do not know it.
type lua struct {
	name        string
	full, plain source
}

func load(name string) *lua {
	data, err := files.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err)
	}
	text := mutant.Script(name, string(data))
	first, rest, _ := strings.Cut(text, "\n")
	if !strings.HasPrefix(first, "#!lua") {
		panic("script: " + name + ".lua does not start with #!lua")
	}
	return &lua{name: name, full: newSource(text), plain: newSource(rest)}
}

func newSource(text string) source {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // see the import
	return source{text: text, sha: hex.EncodeToString(sum[:])}
}

// Runner runs the scripts on one server or cluster. It is safe for concurrent use.
type Runner struct {
	client redis.UniversalClient
	plain  atomic.Bool // the server does not know `#!lua`
	probed atomic.Bool
	watch  Watch
}

// Watch is told of each call of a script: its name, how long it took, and its error.
type Watch func(name string, took time.Duration, err error)

// NewRunner returns a Runner on a client that its caller owns.
func NewRunner(client redis.UniversalClient) *Runner { return &Runner{client: client} }

// Watched has a new Runner tell of its calls; nil is told nothing, and costs nothing.
func (r *Runner) Watched(watch Watch) *Runner {
	r.watch = watch
	return r
}

// With returns a Runner on another client to the same server.
func (r *Runner) With(client redis.UniversalClient) *Runner {
	other := NewRunner(client).Watched(r.watch)
	other.plain.Store(r.plain.Load())
	other.probed.Store(r.probed.Load())
	return other
}

// run calls a script by its SHA-1, and by its text where the server has forgotten it.
func (r *Runner) run(ctx context.Context, s *lua, keys []string, args []any) (any, error) {
	if r.watch == nil {
		return r.call(ctx, r.client, s, keys, args)
	}
	began := time.Now()
	answer, err := r.call(ctx, r.client, s, keys, args)
	r.watch(s.name, time.Since(began), err)
	return answer, err
}

func (r *Runner) call(ctx context.Context, c redis.Scripter, s *lua, keys []string, args []any) (any, error) {
	answer, err := c.EvalSha(ctx, r.source(s).sha, keys, args...).Result()
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err = r.probe(ctx); err == nil {
			answer, err = c.Eval(ctx, r.source(s).text, keys, args...).Result()
		}
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("script: %s: %w", s.name, err)
	}
	return answer, nil
}

func (r *Runner) source(s *lua) source {
	if r.plain.Load() {
		return s.plain
	}
	return s.full
}

// probe finds out, once, whether the server knows the `#!lua` line (the embedded one does not).
func (r *Runner) probe(ctx context.Context) error {
	if r.probed.Load() {
		return nil
	}
	err := r.client.Eval(ctx, "#!lua flags=allow-oom\nreturn 1", nil).Err() // without a key: users may be confined to a prefix
	if err != nil && !isCompileError(err) {
		return err
	}
	r.plain.Store(err != nil)
	r.probed.Store(true)
	return nil
}

// isCompileError tells the server's refusal of the text from a refusal of the call.
func isCompileError(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "compil") || strings.Contains(text, "parse error") || strings.Contains(text, "syntax error") ||
		strings.Contains(text, "invalid token")
}

// list reads an answer that must be an array of at least n values.
func list(s *lua, answer any, n int) ([]any, error) {
	values, ok := answer.([]any)
	if !ok || len(values) < n {
		return nil, fmt.Errorf("script: %s: unexpected answer %T of %d values", s.name, answer, len(values))
	}
	return values, nil
}

func number(v any) int {
	n, _ := v.(int64)
	return int(n)
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// wrap names the script in an error.
func wrap(s *lua, err error) error {
	if strings.HasPrefix(err.Error(), "script: ") {
		return err
	}
	return fmt.Errorf("script: %s: %w", s.name, err)
}
