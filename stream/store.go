// Package stream puts tasks into queues on Redis Streams, and waits for their outcomes.
//
//	var GetTitle = stream.Func[string, string]{Name: "getTitle", Queue: "web"}
//
//	store, err := stream.NewStore(redisClient, stream.Config{})
//	client, err := stream.NewClient(store, stream.ClientConfig{})
//	id, err := GetTitle.Enqueue(ctx, client, "linuxfr.org")  // fire and forget
//	title, err := GetTitle.Call(ctx, client, "linuxfr.org")  // wait for the result
package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// Config tunes a [Store]. The zero value is ready to use.
type Config struct {
	Prefix string      // of every key; default "wm"
	Group  string      // consumer group of every queue; default "workers"
	Logger *zap.Logger // nil is silent; payloads are never logged
	Hooks  Hooks       // called as things happen
}

// Store is the place where queues lie: one Redis server, Sentinel group or cluster, and a key prefix.
// It is safe for concurrent use.
type Store struct {
	client  redis.UniversalClient // the caller's
	writer  redis.UniversalClient // without retries: what may have run twice is decided here, not in the library
	scripts *script.Runner
	prefix  string
	group   string
	logger  *zap.Logger
	hooks   Hooks

	mu     sync.Mutex
	lines  map[*conn.Line]struct{} // of clients that are not closed
	closed bool
}

// NewStore returns a Store on a client that the caller owns and closes after [Store.Close]. It dials nothing, so it
// succeeds without a server. The client is a *redis.Client (also one for Sentinel) or a *redis.ClusterClient.
func NewStore(client redis.UniversalClient, cfg Config) (*Store, error) {
	cfg.Prefix = orDefault(cfg.Prefix, "wm")
	cfg.Group = orDefault(cfg.Group, "workers")
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if client == nil {
		return nil, errors.New("stream: new store: client is nil: give it a *redis.Client or *redis.ClusterClient")
	}
	err := errors.Join(wire.CheckPrefix(cfg.Prefix), wire.CheckName("group", cfg.Group))
	if err != nil {
		return nil, fmt.Errorf("stream: new store: %w", err)
	}
	writer, err := conn.Derive(client, conn.Options{MaxRetries: -1})
	if err != nil {
		return nil, fmt.Errorf("stream: new store: %w", err)
	}
	return &Store{
		client: client, writer: writer, scripts: script.NewRunner(writer).Watched(cfg.Hooks.Script),
		prefix: cfg.Prefix, group: cfg.Group, logger: cfg.Logger, hooks: cfg.Hooks,
	}, nil
}

// Close closes the connections that the Store made for itself and for its clients, not the caller's client.
func (s *Store) Close() error {
	s.mu.Lock()
	lines := slices.Collect(maps.Keys(s.lines))
	s.closed = true
	s.mu.Unlock()
	errs := []error{s.writer.Close()}
	for _, line := range lines {
		errs = append(errs, s.closeLine(line))
	}
	return errors.Join(errs...)
}

// newLine makes a connection that is closed with the Store, if not before.
func (s *Store) newLine(from *redis.Client) (*conn.Line, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	line, err := conn.NewLine(from)
	if err != nil {
		return nil, err
	}
	if s.lines == nil {
		s.lines = make(map[*conn.Line]struct{})
	}
	s.lines[line] = struct{}{}
	return line, nil
}

func (s *Store) closeLine(line *conn.Line) error {
	s.mu.Lock()
	_, open := s.lines[line]
	delete(s.lines, line)
	s.mu.Unlock()
	if !open {
		return nil
	}
	return line.Close()
}

// Client is the client that the Store was made with.
func (s *Store) Client() redis.UniversalClient { return s.client }

// Logger is never nil.
func (s *Store) Logger() *zap.Logger { return s.logger }

// Hooks are those of the Store's configuration; they are for the packages of this module.
func (s *Store) Hooks() Hooks { return s.hooks }

// Group is the consumer group of every queue.
func (s *Store) Group() string { return s.group }

// Prefix is what every key begins with.
func (s *Store) Prefix() string { return s.prefix }

// Keys names the keys of a queue; it is for the packages of this module.
func (s *Store) Keys(queue string) wire.Keys { return wire.NewKeys(s.prefix, queue) }

// Scripts runs the state changes; it is for the packages of this module. Calls are not retried: the caller decides.
func (s *Store) Scripts() *script.Runner { return s.scripts }

// Register notes that queues exist, for [Store.Queues].
func (s *Store) Register(ctx context.Context, queues ...string) error {
	members := make([]any, len(queues))
	for i, queue := range queues {
		members[i] = queue
	}
	if err := s.writer.SAdd(ctx, wire.Queues(s.prefix), members...).Err(); err != nil {
		return fmt.Errorf("stream: register %s: %w", strings.Join(queues, ", "), err)
	}
	return nil
}

// Queues lists the names of all queues that a client or a worker has used, in alphabetical order.
func (s *Store) Queues(ctx context.Context) ([]string, error) {
	names, err := s.client.SMembers(ctx, wire.Queues(s.prefix)).Result()
	if err != nil {
		return nil, fmt.Errorf("stream: list queues: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

func orDefault[T comparable](value, standard T) T {
	var zero T
	if value == zero {
		return standard
	}
	return value
}

// cluster tells whether the Store lies on a cluster.
func (s *Store) cluster() bool {
	_, ok := s.client.(*redis.ClusterClient)
	return ok
}

// replicaWait is how long WAIT may wait: its answer must be in before the read times out, or nobody could tell what was stored.
func (s *Store) replicaWait() time.Duration {
	var timeout time.Duration
	switch client := s.writer.(type) {
	case *redis.Client:
		timeout = client.Options().ReadTimeout
	case *redis.ClusterClient:
		timeout = client.Options().ReadTimeout
	}
	if timeout <= 0 {
		return replicaWait
	}
	return min(replicaWait, timeout*2/3)
}
