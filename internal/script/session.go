package script

import (
	"context"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// SessionKeys names what belongs to one session of a client.
type SessionKeys struct {
	Keys wire.Keys
	ID   string // of the session
	Lane string // of its client's producer lane
	Info string // for people: who it is
}

// SessionState is what the owner of a session needs to notice a loss of data.
type SessionState struct {
	Kept bool  // the reply stream was there; otherwise it has been made again, and outcomes may be lost
	Last int64 // the last number of the producer lane, -1 when the lane is gone
}

// Session keeps the reply stream and the shared values of a session alive for another ttl, and makes the stream when it is not there.
func (r *Runner) Session(ctx context.Context, s SessionKeys, ttl time.Duration) (SessionState, error) {
	names := []string{s.Keys.Reply(s.ID), s.Keys.Context(s.ID), s.Keys.Producer(s.Lane), s.Keys.Sessions(), s.Keys.SessionInfo()}
	answer, err := r.run(ctx, sessionScript, names, []any{ttl.Milliseconds(), s.ID, s.Info})
	if err != nil {
		return SessionState{}, err
	}
	values, err := list(sessionScript, answer, 2)
	if err != nil {
		return SessionState{}, err
	}
	return SessionState{Kept: number(values[0]) == 1, Last: int64(number(values[1]))}, nil
}
