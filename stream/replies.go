package stream

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/mutant"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// tail reads the reply stream. After any error it starts at the beginning again: a promoted replica may have lower entry IDs, and
// what it has seen already, it knows.
func (s *Session) tail(ctx context.Context) error {
	s.cursor = "0-0"
	for ctx.Err() == nil {
		s.mu.Lock()
		if s.reread {
			s.cursor, s.reread = "0-0", false
		}
		s.mu.Unlock()
		entries, err := s.reader.Read(ctx, s.keys.Reply(s.id), s.cursor, readCount, readBlock)
		if err != nil {
			return err
		}
		s.client.hear()
		if len(entries) == 0 {
			continue
		}
		s.take(entries)
		s.cursor = entries[len(entries)-1].ID
		if err = s.trim(ctx); err != nil {
			return err
		}
		s.heard(nil) // outcomes come and Redis takes writes: that keep has lost a few answers in a row is no outage
	}
	return nil
}

// take notes the outcomes of some reply entries: the first of each task counts.
func (s *Session) take(entries []conn.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, entry := range entries {
		for i := 0; i+1 < len(entry.Fields); i += 2 {
			o, err := wire.DecodeOutcome(entry.Fields[i], entry.Fields[i+1])
			if err != nil {
				s.client.store.logger.Warn("skip a reply that is none", zap.String("queue", s.queue), zap.String("entry", entry.ID), zap.Error(err))
				continue
			}
			p, before := s.pending[o.TaskID], len(s.ready)
			switch {
			case p == nil: // a duplicate, or nobody waits for it any more
			case o.Kind == wire.KindMoved:
				p.entry, p.missed = o.Entry, 0
			case p.task.Items > 0:
				s.takePack(p, o)
			default:
				delete(s.pending, o.TaskID)
				s.ready = append(s.ready, o)
			}
			s.count(before)
		}
	}
	if len(s.ready) > 0 {
		s.signal(s.wake)
	}
}

// trim removes what was read, so that the reply stream holds no more than is on its way.
func (s *Session) trim(ctx context.Context) error {
	ms, seq, _ := strings.Cut(s.cursor, "-")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return fmt.Errorf("stream: trim replies: entry ID %q: %w", s.cursor, err)
	}
	key := s.keys.Reply(s.id)
	if err = s.client.store.writer.XTrimMinID(ctx, key, ms+"-"+strconv.FormatUint(n+1, 10)).Err(); err != nil {
		return fmt.Errorf("stream: trim replies: %w", err)
	}
	return nil
}

// keep renews the reply stream, looks whether Redis has lost anything, and stores again what it has.
func (s *Session) keep(ctx context.Context) error {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	audited := time.Now()
	if s.isUnheard() { // started again after an error: the next look is not to wait, or two lost answers make an outage
		if err := s.restore(ctx); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.loss:
			s.lost() // stays said until the tasks are stored again
		case <-ticker.C:
		}
		if err := s.restore(ctx); err != nil {
			return err
		}
		if time.Since(audited) < auditEvery {
			continue
		}
		audited = time.Now()
		if err := s.audit(ctx); err != nil {
			return err
		}
	}
}

// restore renews the reply stream and stores again what Redis has lost: all tasks when the reply stream is gone, since outcomes may have
// gone with it; those of an earlier lane when the lane is.
func (s *Session) restore(ctx context.Context) error {
	kept, err := s.touch(ctx, s.looks)
	s.heard(err)
	if err != nil {
		return err
	}
	if !kept {
		s.lost()
		s.mu.Lock()
		s.forgotten, s.reread = true, true
		s.losses++
		s.mu.Unlock()
	}
	select {
	case <-s.loss:
	default:
		return nil
	}
	s.mu.Lock()
	all := s.forgotten
	s.mu.Unlock()
	lane, _ := s.lane.acked()
	err = s.replay(ctx, s.snapshot(func(p *sent) bool { return p.lane != "" && (all || p.lane != lane || s.lane.isStale(lane)) }))
	if err != nil {
		s.lost() // once more, when Redis answers
		return err
	}
	s.mu.Lock()
	s.forgotten = false
	s.mu.Unlock()
	return nil
}

// isUnheard tells whether the last look had no answer.
func (s *Session) isUnheard() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unheard
}

// heard notes whether Redis answers, and has Next tell when it has not for too long.
func (s *Session) heard(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unheard = err != nil
	switch now := time.Now(); {
	case err == nil:
		s.answered, s.outage = now, nil
		s.client.hear()
	case now.Sub(s.answered) >= s.client.cfg.RetryFor:
		s.answered, s.outage = now, fmt.Errorf("%w: %w", ErrUnavailable, err)
		s.signal(s.wake)
	}
}

// touch renews the reply stream, or makes it, and compares what the producer lane says with what was acknowledged.
func (s *Session) touch(ctx context.Context, by *script.Runner) (kept bool, err error) {
	id, acked := s.lane.acked()
	state, err := by.Session(ctx, script.SessionKeys{Keys: s.keys, ID: s.id, Lane: id, Info: s.info()}, s.client.cfg.ReplyTTL)
	if err != nil {
		return false, err
	}
	if acked > 0 && state.Last < acked {
		s.lane.lose(id)
	}
	return state.Kept, nil
}

// replay stores tasks again, under their own IDs.
func (s *Session) replay(ctx context.Context, tasks []*sent) error {
	if len(tasks) == 0 || mutant.Replay {
		return nil
	}
	s.client.store.logger.Info("store tasks again that redis has lost", zap.String("queue", s.queue), zap.Int("tasks", len(tasks)))
	for len(tasks) > 0 {
		t, n := &ticket{again: true}, 0
		was := make([]string, 0, min(len(tasks), maxBatchTasks))
		s.mu.Lock()
		losses := s.losses
		for _, p := range tasks {
			if n > 0 && (n >= maxBatchTasks || t.size+p.size > maxBatchBytes) {
				break
			}
			t.tasks, t.size, was = append(t.tasks, p.order), t.size+p.size, append(was, p.entry)
			n++
		}
		s.mu.Unlock()
		if err := s.lane.store(ctx, t); err != nil {
			return fmt.Errorf("stream: store lost tasks again: %w", err)
		}
		s.mu.Lock()
		lane := s.laneOf(t, losses)
		for i, p := range tasks[:n] {
			place := t.place(i)
			p.stored(lane, place, was[i])
			p.missed, p.at = 0, time.Now()
			if place.Duplicate != "" && s.pending[p.task.ID] == p { // its lock was lost too, and another task has it now
				s.refuse(p, place.Duplicate)
			}
		}
		s.mu.Unlock()
		tasks = tasks[n:]
	}
	return nil
}

// audit looks for tasks that are nowhere, as an operator's XTRIM or XDEL leaves them.
func (s *Session) audit(ctx context.Context) error {
	old := s.snapshot(func(p *sent) bool { return p.lane != "" && time.Since(p.at) >= auditEvery-keepEvery })
	old = old[:min(len(old), auditTasks)]
	if len(old) == 0 {
		return nil
	}
	refs := make([]script.TaskRef, len(old))
	s.mu.Lock()
	for i, p := range old {
		refs[i] = script.TaskRef{ID: p.task.ID, Entry: p.place()}
	}
	s.mu.Unlock()
	missing, err := s.client.store.scripts.Missing(ctx, s.keys, refs)
	if err != nil {
		return err
	}
	var lost []*sent
	s.mu.Lock()
	for _, p := range old {
		p.at = time.Now() // the others are looked at first the next time
	}
	for _, i := range missing {
		p := old[i]
		if p.missed++; p.missed >= 2 && s.pending[p.task.ID] == p {
			lost = append(lost, p)
		}
	}
	s.mu.Unlock()
	return s.replay(ctx, lost)
}
