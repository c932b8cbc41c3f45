package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/supervise"
	"github.com/athoune/worker-machine/internal/wire"
)

const (
	readBlock    = 2 * time.Second // bounds how long a connection that died unseen goes unnoticed
	readCount    = 256
	keepEvery    = time.Second
	auditEvery   = 5 * time.Second // a task that is nowhere in two audits is stored again
	auditTasks   = 2000
	contextBytes = 1 << 20
	closeWithin  = 5 * time.Second
	noLane       = "none" // of a task that was stored and is lost
)

// Session is a reply stream, and the tasks whose outcomes go there. It keeps every task until its outcome is in, and stores it again
// when Redis has lost it, so that each task sent has exactly one outcome, even when Redis comes back empty. It is safe for
// concurrent use.
type Session struct {
	client *Client
	lane   *lane
	queue  string
	keys   wire.Keys
	id     string
	reader *conn.Reader
	looks  *script.Runner // of keep, with the timeout of reads: shorter than that of most clients

	mu        sync.Mutex
	pending   map[string]*sent
	ready     []Outcome
	reread    bool // the cursor is not to be trusted: read from the beginning
	forgotten bool // the reply stream was gone, and not all tasks are stored again yet
	losses    int  // how often it was gone
	closed    bool
	answered  time.Time // when Redis last did, or its absence was last told
	outage    error     // for Next to tell
	unheard   bool      // the last look had no answer
	tally     tally     // for people

	wake   chan struct{} // ready, closed or outage has changed
	loss   chan struct{} // Redis has lost data
	stop   context.CancelFunc
	ended  chan struct{} // the loops are done
	cursor string        // of the tail loop
}

// sent is a task whose outcome is not in yet.
type sent struct {
	task   Task // of a chunk without payload: items are taken from order
	order  script.LaneTask
	size   int
	lane   string // where it is stored, "" when it is not yet
	entry  string // "" when it was not there any more when its place was told
	at     time.Time
	missed int // audits in a row that found it nowhere

	left  int          // of a chunk: items whose outcome is not in
	taken wire.ItemSet // of a chunk, once there is something to remember: items whose outcome is in, or that are on their own now
}

// OpenSession makes a reply stream on a queue. Close it when done; the outcomes of a session whose process dies go away after
// ClientConfig.ReplyTTL. The session lives until Close, not until ctx ends.
func (c *Client) OpenSession(ctx context.Context, queue string) (*Session, error) {
	l, err := c.lane(orDefault(queue, DefaultQueue))
	if err != nil {
		return nil, err
	}
	reader, err := conn.NewReader(c.store.client, readBlock)
	if err != nil {
		return nil, fmt.Errorf("stream: open session: %w", err)
	}
	s := &Session{
		tally:  tally{began: time.Now()},
		client: c, lane: l, queue: l.queue, keys: l.keys, id: NewID(), reader: reader, looks: c.store.scripts.With(reader.Client()), cursor: "0-0",
		answered: time.Now(), pending: make(map[string]*sent), wake: make(chan struct{}, 1), loss: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	if err = s.create(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("stream: open session on queue %s: %w", l.queue, err), reader.Close())
	}
	l.watch(s)
	loops, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go func() {
		defer close(s.ended)
		_ = supervise.Run(loops, supervise.Options{Logger: c.store.logger, MaxBackoff: maxBackoff},
			supervise.Loop{Name: "keep session " + s.id, Run: s.keep},
			supervise.Loop{Name: "read replies " + s.id, Run: s.tail},
		)
	}()
	return s, nil
}

// create makes the reply stream; like an enqueue, it goes on for a while when Redis does not answer.
func (s *Session) create(ctx context.Context) error {
	began := time.Now()
	for attempt := 0; ; attempt++ {
		_, err := s.touch(ctx, s.client.store.scripts)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		switch v := judge(err, s.client.store.cluster()); {
		case v == full:
			return fmt.Errorf("%w: redis refuses to store more: %w", ErrQueueFull, err)
		case v == refused:
			return err
		case s.client.isLate(began):
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		pause(ctx, backoff(attempt))
	}
}

// ID names the reply stream and the shared values.
func (s *Session) ID() string { return s.id }

// Losses is how often Redis had lost the session's replies; it is for the packages of this module.
func (s *Session) Losses() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.losses
}

// Outstanding is how many tasks, or items of chunks, were sent and have no outcome yet, or one that Next has not returned.
func (s *Session) Outstanding() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, p := range s.pending {
		n += max(p.left, 1)
	}
	for i := range s.ready {
		n += told(&s.ready[i])
	}
	return n
}

// Send stores tasks whose outcomes [Session.Next] will return. It fills in what a task lacks of ID, attempt and reply stream.
// A task with Items is a chunk, and its payload is made with [AppendItem]. When it fails, the first n tasks are stored and will have an outcome; the others are not, or nobody will hear of them.
func (s *Session) Send(ctx context.Context, tasks ...Task) (n int, err error) {
	orders := make([]*order, len(tasks))
	for i := range tasks {
		limit := s.client.cfg.MaxPayload
		if tasks[i].Items > 0 {
			limit = hardPayload // it is for each item
		}
		if len(tasks[i].Payload) > limit {
			orders = orders[:i]
			err = fmt.Errorf("%w: task %d has %d bytes, and ClientConfig.MaxPayload is %d", ErrPayloadTooLarge, i, len(tasks[i].Payload), limit)
			break
		}
		orders[i] = &order{task: tasks[i]}
		if err = s.complete(&orders[i].task); err != nil {
			orders, err = orders[:i], fmt.Errorf("task %d: %w", i, err)
			break
		}
	}
	n, sendErr := s.send(ctx, orders)
	if sendErr != nil {
		err = sendErr
	}
	if err != nil {
		err = fmt.Errorf("stream: send to queue %s: %w", s.queue, err)
	}
	return n, err
}

// complete fills in what a task lacks, and reports what is wrong with it.
func (s *Session) complete(t *Task) error {
	if t.ID == "" && t.Items > 0 {
		t.ID = NewChunkID()
	}
	if t.ID == "" {
		t.ID = NewID()
	}
	t.Attempt, t.Reply = max(t.Attempt, 1), s.id
	if t.Unique != "" {
		return errors.New("a uniqueness key does not fit a task whose outcome is awaited: enqueue it instead")
	}
	return t.Check()
}

// send notes the tasks BEFORE it stores them: their outcomes may be in before the answer is.
func (s *Session) send(ctx context.Context, orders []*order) (n int, err error) {
	for len(orders) > 0 {
		t, batch := &ticket{}, make([]*sent, 0, len(orders))
		for _, o := range orders {
			if len(batch) > 0 && (len(batch) >= maxBatchTasks || t.size+o.size() > maxBatchBytes) {
				break
			}
			o.task.Reply = s.id
			p := newSent(o)
			batch = append(batch, p)
			t.tasks, t.size, t.replicas = append(t.tasks, p.order), t.size+p.size, max(t.replicas, o.replicas)
		}
		if err = s.note(batch); err != nil {
			return n, err
		}
		stored, err := s.store(ctx, t, batch)
		if n += stored; err != nil {
			return n, err
		}
		orders = orders[len(batch):]
	}
	return n, nil
}

func (s *Session) note(batch []*sent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	for _, p := range batch {
		s.pending[p.task.ID] = p
	}
	return nil
}

// store stores one ticket, notes the entries, and forgets what was refused.
func (s *Session) store(ctx context.Context, t *ticket, batch []*sent) (n int, err error) {
	s.mu.Lock()
	losses := s.losses
	s.mu.Unlock()
	err = s.lane.store(ctx, t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		for _, p := range batch {
			delete(s.pending, p.task.ID)
		}
		if ctx.Err() != nil && errors.Is(err, ErrUnknownOutcome) {
			go s.disown(context.WithoutCancel(ctx), t, batch)
		}
		return 0, err
	}
	lane := s.laneOf(t, losses)
	for i, p := range batch {
		place := t.place(i)
		if place.Full {
			delete(s.pending, p.task.ID)
			err = ErrQueueFull
			continue
		}
		p.stored(lane, place, "")
		if place.Duplicate != "" {
			s.refuse(p, place.Duplicate)
		}
		n++
		s.tally.send(&p.task)
	}
	if err == nil && t.stored.Replicas < t.replicas {
		err = fmt.Errorf("%w: %d of %d", ErrNotReplicated, t.stored.Replicas, t.replicas)
	}
	return n, err
}

// laneOf is where the tasks of a ticket are stored: noLane when Redis lost data while the answer was on its way, since whoever stored
// again what was lost did not know of these. mu is held.
func (s *Session) laneOf(t *ticket, losses int) string {
	if s.losses == losses && !s.lane.isGone(t.lane) {
		return t.lane
	}
	s.lost()
	return noLane
}

// disown cancels tasks whose sender left while they were on their way, once they have arrived.
func (s *Session) disown(ctx context.Context, t *ticket, batch []*sent) {
	if t.left {
		<-t.done
	}
	if t.err != nil {
		return
	}
	refs := make([]script.TaskRef, len(batch))
	for i, p := range batch {
		refs[i] = script.TaskRef{ID: p.task.ID, Entry: t.place(i).Entry}
	}
	ctx, cancel := context.WithTimeout(ctx, cancelWithin)
	defer cancel()
	if _, err := s.client.store.scripts.Cancel(ctx, s.keys, s.client.store.group, refs); err != nil {
		s.client.store.logger.Debug("cancel tasks whose sender left", zap.String("queue", s.queue), zap.Error(err))
	}
}

// refuse gives a task that was not stored the outcome it will not get from a worker.
func (s *Session) refuse(p *sent, holder string) {
	delete(s.pending, p.task.ID)
	s.tally.done++
	s.tally.failed++
	s.ready = append(s.ready, Outcome{TaskID: p.task.ID, Kind: wire.KindFailure, Failure: wire.Failure{
		Function: p.task.Function, Attempt: p.task.Attempt, Reason: reasonDuplicate, Message: "task " + holder + " has the same uniqueness key and is not done yet",
	}})
	s.signal(s.wake)
}

// Next waits for outcomes and returns all that are in. A task has one, whatever was executed how often. Those of the items of a chunk
// come in packs: [wire.KindPack] under the ID of the chunk, where an item that is not told of came before or follows; and under IDs of
// their own where items became tasks of their own on the way. It fails when ctx is done, or
// with [ErrClosed]; and with [ErrUnavailable] each time that Redis has not answered for ClientConfig.RetryFor: call it again to go
// on waiting.
func (s *Session) Next(ctx context.Context) ([]Outcome, error) {
	for {
		s.mu.Lock()
		ready, closed, outage := s.ready, s.closed, s.outage
		s.ready = nil
		if len(ready) == 0 {
			s.outage = nil
		}
		s.mu.Unlock()
		if len(ready) > 0 {
			return ready, nil
		}
		if closed {
			s.signal(s.wake) // for whoever else waits
			return nil, fmt.Errorf("stream: session: %w", ErrClosed)
		}
		if outage != nil {
			return nil, fmt.Errorf("stream: session: %w", outage)
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// CancelAll cancels the tasks that have no outcome yet and have not started. Running ones go on. It returns how many were removed; those
// that lie in a worker's hands are announced to it.
func (s *Session) CancelAll(ctx context.Context) (removed int, err error) {
	s.mu.Lock()
	refs := make([]script.TaskRef, 0, len(s.pending))
	for id, p := range s.pending {
		refs = append(refs, script.TaskRef{ID: id, Entry: p.place()})
	}
	s.mu.Unlock()
	removed, err = s.client.store.scripts.Cancel(ctx, s.keys, s.client.store.group, refs)
	if err != nil {
		err = fmt.Errorf("stream: cancel tasks of queue %s: %w", s.queue, err)
	}
	return removed, err
}

// cancel cancels one task that nobody waits for any more.
func (s *Session) cancel(ctx context.Context, id string) error {
	s.mu.Lock()
	p := s.pending[id]
	delete(s.pending, id)
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	_, err := s.client.store.scripts.Cancel(ctx, s.keys, s.client.store.group, []script.TaskRef{{ID: id, Entry: p.place()}})
	return err
}

// stored notes where a task is, unless it has moved already: the notice of that was faster than the answer. was is its entry before.
func (p *sent) stored(lane string, place script.Place, was string) {
	p.lane = lane
	switch {
	case p.entry != was:
	case p.order.Delayed():
		p.entry = wire.MovedDue
	default:
		p.entry = place.Entry
	}
}

// place is the entry, as far as there is one.
func (p *sent) place() string {
	if p.entry == wire.MovedDue {
		return ""
	}
	return p.entry
}

// Set shares a small value with the tasks of this session, 1 MiB at most. It is gone with the session.
func (s *Session) Set(ctx context.Context, name string, value []byte) error {
	if len(value) > contextBytes {
		return fmt.Errorf("stream: share %q: %w: %d bytes, at most %d", name, ErrPayloadTooLarge, len(value), contextBytes)
	}
	key := s.keys.Context(s.id)
	_, err := s.client.store.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, key, name, value)
		p.PExpire(ctx, key, s.client.cfg.ReplyTTL)
		return nil
	})
	if err != nil {
		return fmt.Errorf("stream: share %q: %w", name, err)
	}
	return nil
}

// Get reads a value that this session or one of its tasks has set; nil without an error when there is none.
func (s *Session) Get(ctx context.Context, name string) ([]byte, error) {
	value, err := s.client.store.client.HGet(ctx, s.keys.Context(s.id), name).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stream: read shared %q: %w", name, err)
	}
	return value, nil
}

// Close cancels what has not started and removes the reply stream and the shared values. It takes five seconds at
// most, also when ctx has ended. Closing twice is fine.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.signal(s.wake)
	s.stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- s.remove(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // which ends ctx too
		return err
	default: // a connection that does not answer is given up by its own timeouts, later
		return fmt.Errorf("stream: close session %s: %w: what could not be removed expires", s.id, ErrUnavailable)
	}
}

// remove waits for the loops to end, and removes what is left.
func (s *Session) remove(ctx context.Context) error {
	<-s.ended
	err := s.cancelRest(ctx)
	delErr := s.client.store.Again(ctx, closeWithin, func() error {
		_, err := s.client.store.writer.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Del(ctx, s.keys.Reply(s.id), s.keys.Context(s.id))
			p.ZRem(ctx, s.keys.Sessions(), s.id)
			p.HDel(ctx, s.keys.SessionInfo(), s.id)
			return nil
		})
		return err
	})
	if delErr != nil {
		err = errors.Join(err, fmt.Errorf("stream: close session %s: %w", s.id, delErr))
	}
	s.lane.leave(s)
	return errors.Join(err, s.reader.Close())
}

// cancelRest cancels what has not started, for good: it is noted that the session is closed BEFORE the last replies are read, so that
// an item of a chunk has become a task by then, and is told there, or never does.
func (s *Session) cancelRest(ctx context.Context) error {
	closed := []script.TaskRef{{ID: s.id}}
	_, err := s.client.store.scripts.Cancel(ctx, s.keys, s.client.store.group, closed)
	for range 2 { // an interrupt may have been left for the first read
		for {
			entries, readErr := s.reader.Read(ctx, s.keys.Reply(s.id), s.cursor, readCount, 0)
			if readErr != nil || len(entries) == 0 {
				break
			}
			s.take(entries)
			s.cursor = entries[len(entries)-1].ID
		}
	}
	_, cancelErr := s.CancelAll(ctx)
	return errors.Join(err, cancelErr)
}

// signal wakes one waiter, now or later.
func (s *Session) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// lost tells the session that Redis has lost data.
func (s *Session) lost() { s.signal(s.loss) }

// snapshot returns the tasks without an outcome that a filter wants, oldest first.
func (s *Session) snapshot(want func(*sent) bool) []*sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*sent
	for _, p := range s.pending {
		if want(p) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *sent) int { return a.at.Compare(b.at) })
	return found
}
