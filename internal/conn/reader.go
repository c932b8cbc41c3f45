package conn

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	readSlack   = time.Second            // how much later than its block a read must have answered
	shortBlock  = 100 * time.Millisecond // where the server cannot unblock a client, a block is no longer than this
	unblockEach = 2 * time.Millisecond
)

// Stream is what one read found in one stream.
type Stream struct {
	Key     string
	Entries []Entry
}

// Entry is one entry of a stream: name, value, name, value, and so on. Fields is nil when the entry was deleted after its delivery.
type Entry struct {
	ID     string
	Fields []string
}

// GroupRead is one XREADGROUP.
type GroupRead struct {
	Group, Consumer string
	Count           int           // most entries of each stream
	Block           time.Duration // wait so long for the first; 0 does not wait
	Keys            []string      // on a cluster, of one slot
	IDs             []string      // for each key: ">" for new entries, or an ID for the consumer's pending ones above it
}

// Reader has one connection for blocking reads. The library never retries a read: a reply that is lost may have delivered entries.
// One goroutine reads at a time.
type Reader struct {
	client redis.UniversalClient
	block  time.Duration
	answer answer // of whoever reads

	mu          sync.Mutex
	node        *redis.Client
	conn        *redis.Conn
	id          int64 // of the connection, 0 where the server cannot tell
	reading     bool
	interrupted bool
}

// NewReader returns a Reader beside a client. No read blocks longer than block. It dials at the first read.
func NewReader(client redis.UniversalClient, block time.Duration) (*Reader, error) {
	own, err := Derive(client, Options{PoolSize: 3, ReadTimeout: block + readSlack, MaxRetries: -1})
	if err != nil {
		return nil, err
	}
	return &Reader{client: own, block: block}, nil
}

// Client makes calls beside the reads, with the timeout of reads. It is closed with the Reader.
func (r *Reader) Client() redis.UniversalClient { return r.client }

// Close closes the connection.
func (r *Reader) Close() error {
	r.mu.Lock()
	conn := r.conn
	r.conn, r.node, r.id = nil, nil, 0
	r.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // its socket goes with the client's pool
	}
	return r.client.Close()
}

// ReadGroup reads entries as a consumer of a group; nil without an error when there is none, or the read was interrupted.
// It ends early when ctx does: what was delivered by then is returned all the same.
func (r *Reader) ReadGroup(ctx context.Context, g GroupRead) ([]Stream, error) {
	args := make([]any, 0, 9+2*len(g.Keys))
	args = append(args, "xreadgroup", "group", g.Group, g.Consumer, "count", g.Count)
	return r.read(ctx, args, g.Block, g.Keys, g.IDs)
}

// Read reads entries of one stream above an ID; nil without an error when there is none, or the read was interrupted.
func (r *Reader) Read(ctx context.Context, key, after string, count int, block time.Duration) ([]Entry, error) {
	streams, err := r.read(ctx, []any{"xread", "count", count}, block, []string{key}, []string{after})
	if len(streams) == 0 {
		return nil, err
	}
	return streams[0].Entries, err
}

// ReadEach reads entries of streams, for each above an ID; nil without an error when there is none, or the read was interrupted. On a
// cluster the streams are of one slot.
func (r *Reader) ReadEach(ctx context.Context, keys, after []string, count int, block time.Duration) ([]Stream, error) {
	return r.read(ctx, []any{"xread", "count", count}, block, keys, after)
}

// Interrupt ends the read that is blocked now, or the next one, at once.
func (r *Reader) Interrupt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	r.mu.Lock()
	r.interrupted = true
	r.mu.Unlock()
	ticker := time.NewTicker(unblockEach)
	defer ticker.Stop()
	for {
		r.mu.Lock()
		reading, node, id := r.reading && r.interrupted, r.node, r.id
		r.mu.Unlock()
		if !reading || (node != nil && id == 0) {
			return
		}
		if node != nil && node.ClientUnblock(ctx, id).Val() == 1 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C: // the read had not blocked yet
		}
	}
}

func (r *Reader) read(ctx context.Context, args []any, block time.Duration, keys, ids []string) ([]Stream, error) {
	if !r.begin() || ctx.Err() != nil {
		r.end()
		return nil, nil
	}
	defer r.end()
	defer context.AfterFunc(ctx, func() { r.Interrupt(ctx) })()
	free := context.WithoutCancel(ctx) // a read that is under way is ended by CLIENT UNBLOCK, so that no reply is lost
	conn, id, err := r.connect(free, keys[0])
	if err != nil {
		return nil, err
	}
	if r.isInterrupted() { // while it connected
		return nil, nil
	}
	block = min(block, r.block)
	if id == 0 {
		block = min(block, shortBlock)
	}
	if block > 0 {
		args = append(args, "block", max(block.Milliseconds(), 1))
	}
	args = append(args, "streams")
	for _, key := range keys {
		args = append(args, key)
	}
	for _, after := range ids {
		args = append(args, after)
	}
	defer r.answer.reset()
	var streams []Stream
	// Not sent a second time by go-redis, nor decoded by it: it makes eight pieces of each entry.
	if err = conn.DoRawWriteTo(free, &r.answer, args...).Err(); err == nil {
		streams, err = r.answer.streams()
	}
	if err != nil {
		r.drop(free, err)
		return nil, fmt.Errorf("conn: %s %s: %w", args[0], keys[0], err)
	}
	return streams, nil
}

// begin reports false when the read was interrupted before it began.
func (r *Reader) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reading = true
	return !r.interrupted
}

func (r *Reader) isInterrupted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.interrupted
}

func (r *Reader) end() {
	r.mu.Lock()
	r.reading, r.interrupted = false, false
	r.mu.Unlock()
}

// connect returns the connection to the server of a key, and its ID there.
func (r *Reader) connect(ctx context.Context, key string) (*redis.Conn, int64, error) {
	node, err := r.server(ctx, key)
	if err != nil {
		return nil, 0, fmt.Errorf("conn: find the server of %s: %w", key, err)
	}
	r.mu.Lock()
	conn, id, known := r.conn, r.id, r.node == node
	r.mu.Unlock()
	if conn != nil && known {
		return conn, id, nil
	}
	if conn != nil {
		_ = conn.Close()
	}
	conn = node.EphemeralConn()
	id, err = conn.ClientID(ctx).Result()
	if err != nil && !isRefusal(err) {
		_ = conn.Close()
		return nil, 0, &notSentError{fmt.Errorf("conn: connect to %s: %w", node.Options().Addr, err)}
	}
	r.mu.Lock()
	r.conn, r.id, r.node = conn, id, node
	r.mu.Unlock()
	return conn, id, nil
}

func (r *Reader) server(ctx context.Context, key string) (*redis.Client, error) {
	switch client := r.client.(type) {
	case *redis.ClusterClient:
		return client.MasterForKey(ctx, key)
	case *redis.Client:
		return client, nil
	default:
		return nil, fmt.Errorf("a client of type %T", client)
	}
}

// drop gives up the connection after an error: it may hold half a reply, or lead to a server that the key has left.
func (r *Reader) drop(ctx context.Context, err error) {
	r.mu.Lock()
	conn := r.conn
	r.conn, r.node, r.id = nil, nil, 0
	r.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // what it has to say was said by err
	}
	if cluster, ok := r.client.(*redis.ClusterClient); ok && (redis.HasErrorPrefix(err, "MOVED") || IsUnblocked(err)) {
		cluster.ReloadState(ctx)
	}
}
