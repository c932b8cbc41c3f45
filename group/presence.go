package group

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// silence is how long a subscription may say nothing before it is asked whether it lives.
const silence = 10 * time.Second

// subscription is one connection that holds the presence channels of a bundle, which tells others at once when this process dies, and
// listens to what is said on its control channels.
type subscription struct {
	*bundle
	pinged bool // and not yet answered
}

// subscribe keeps the presence channels subscribed.
func (b *bundle) subscribe(ctx context.Context) error {
	s := &subscription{bundle: b}
	return s.run(ctx)
}

// run subscribes again whenever the connection is lost. Where the server refuses, leases alone tell who lives, and hints do not
// come.
func (s *subscription) run(ctx context.Context) error {
	w := s.worker
	for ctx.Err() == nil {
		pubsub, err := s.open(ctx)
		if err != nil {
			return s.unheard(ctx, err)
		}
		s.announce(true)
		err = s.listen(ctx, pubsub)
		_ = pubsub.Close()
		if ctx.Err() == nil {
			w.log.Warn("the subscription was lost and is made again", zap.Error(err))
		}
		for _, f := range s.feeds {
			f.reclaimer.Disturbed()
		}
	}
	return nil
}

// unheard does without a subscription where the server refuses it; any other error is returned, so that it is tried again.
func (s *subscription) unheard(ctx context.Context, err error) error {
	if !isRefused(err) {
		return err
	}
	s.worker.log.Warn("the server refuses subscriptions: a crash of this worker is noticed when its lease runs out", zap.Error(err))
	s.announce(false)
	<-ctx.Done()
	return nil
}

// open subscribes, and returns once the server has confirmed all channels.
func (s *subscription) open(ctx context.Context) (*redis.PubSub, error) {
	client := s.worker.store.Client()
	var presence, control []string
	for _, f := range s.feeds {
		presence = append(presence, f.keys.Presence(s.worker.name))
		control = append(control, f.keys.Control())
	}
	var pubsub *redis.PubSub
	var err error
	if s.shard {
		pubsub = client.SSubscribe(ctx)
		err = pubsub.SSubscribe(ctx, presence...)
	} else {
		pubsub = client.Subscribe(ctx)
		err = pubsub.Subscribe(ctx, presence...)
	}
	if err == nil {
		err = pubsub.Subscribe(ctx, control...)
	}
	stop := context.AfterFunc(ctx, func() { _ = pubsub.Close() })
	defer stop()
	for range len(presence) + len(control) {
		if err != nil {
			break
		}
		_, err = pubsub.ReceiveTimeout(ctx, time.Second)
	}
	if err != nil {
		_ = pubsub.Close()
		return nil, fmt.Errorf("group: subscribe to presence and control: %w", err)
	}
	return pubsub, nil
}

// announce says in the leases whether presence counts; what may have been missed meanwhile is looked up.
func (s *subscription) announce(present bool) {
	s.worker.present.Store(present)
	for _, f := range s.feeds {
		f.switched.Store(false)
		f.wanted.Store(true)
		f.unheard.Store(true)
	}
	s.unsettled.Do(func() { close(s.settled) })
	kick(s.beatNow)
	kick(s.lookNow)
}

// listen handles messages until the connection is lost or ctx is done.
func (s *subscription) listen(ctx context.Context, pubsub *redis.PubSub) error {
	defer context.AfterFunc(ctx, func() { _ = pubsub.Close() })()
	s.pinged = false
	for {
		message, err := pubsub.ReceiveTimeout(ctx, silence)
		var late net.Error
		if errors.As(err, &late) && late.Timeout() && !s.pinged {
			s.pinged = true
			err = pubsub.Ping(ctx)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		s.pinged = false
		if m, ok := message.(*redis.Message); ok {
			s.heard(ctx, m)
		}
	}
}

// heard acts on a hint. The truth is in keys: a lost hint costs time, a false one nothing.
func (s *subscription) heard(ctx context.Context, m *redis.Message) {
	f := s.byControl[m.Channel]
	if f == nil {
		return
	}
	verb, rest, _ := strings.Cut(m.Payload, " ")
	switch verb {
	case "due":
		f.dueHint()
	case "released":
		f.wantLook()
	case "pause", "resume":
		_ = s.readSwitches(ctx, []*feed{f})
	case "cancel":
		f.cancelWaiting(rest)
	case "stop":
		f.stop(rest)
	}
}

// cancelWaiting ends the task with an ID if it has not started. It notes the ID BEFORE it looks: enlist looks for it after it
// has handed the task to the pool.
func (f *feed) cancelWaiting(id string) {
	f.hints.note(id)
	for _, one := range f.worker.pool.take(func(one *flight) bool { return one.feed == f && one.task.ID == id }) {
		f.cancel(one, cancelledWaiting)
	}
	for _, c := range f.chunks.named(id) { // also while some of its items run
		c.cancel(noItem, cancelledWaiting)
	}
}

// Fields of the hash of switches.
const (
	statePaused = "paused"
	stateStops  = "stops"
)

// readSwitches reads which queues are paused.
func (b *bundle) readSwitches(ctx context.Context, feeds []*feed) error {
	answers := make([]*redis.StringCmd, len(feeds))
	_, _ = b.worker.beats.Pipelined(ctx, func(pipe redis.Pipeliner) error { // each command has its own error
		for i, f := range feeds {
			answers[i] = pipe.HGet(ctx, f.keys.State(), statePaused)
		}
		return nil
	})
	var bad error
	for i, f := range feeds {
		value, err := answers[i].Result()
		f.switched.Store(err == nil || errors.Is(err, redis.Nil))
		if !f.switched.Load() {
			bad = fmt.Errorf("group: it is not known whether %s is paused: %w", f.queue.Name, err)
			continue
		}
		paused := value != "" && value != "0"
		if f.paused.Swap(paused) != paused {
			f.log.Info("the queue was switched", zap.Bool("paused", paused))
			b.worker.stir()
		}
	}
	if bad != nil {
		b.worker.log.Warn("cannot read which queues are paused", zap.Error(bad))
	}
	return bad
}

// isRefused tells whether the server does not let this user subscribe.
func isRefused(err error) bool {
	return hasPrefix(err, "NOPERM") || hasPrefix(err, "unknown command")
}
