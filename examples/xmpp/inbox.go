package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// inbox keeps the messages that have no answer yet, in their order for each sender, and how far the archive was read.
//
//	xmpp:<bot>:cursor           string  ID of the last message of the archive that was read
//	xmpp:<bot>:senders          set     who has an inbox
//	xmpp:<bot>:inbox:<sender>   list    messages, JSON
type inbox struct {
	redis redis.UniversalClient
	base  string
}

// question is a message that wants an answer.
type question struct {
	ID   string // in the archive
	From string // bare JID
	Body string
}

func newInbox(client redis.UniversalClient, bot string) *inbox {
	return &inbox{redis: client, base: "xmpp:{" + bot + "}:"} // one slot of a cluster: they are written together
}

func (b *inbox) of(sender string) string { return b.base + "inbox:" + sender }

// Cursor is how far the archive was read; "" at first.
func (b *inbox) Cursor(ctx context.Context) (string, error) {
	cursor, err := b.redis.Get(ctx, b.base+"cursor").Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return cursor, err
}

// Add keeps questions, and notes that the archive was read up to the cursor, in one step.
func (b *inbox) Add(ctx context.Context, questions []question, cursor string) error {
	_, err := b.redis.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		for _, q := range questions {
			text, err := json.Marshal(q)
			if err != nil {
				return err
			}
			tx.SAdd(ctx, b.base+"senders", q.From)
			tx.RPush(ctx, b.of(q.From), text)
		}
		tx.Set(ctx, b.base+"cursor", cursor, 0)
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep %d messages: %w", len(questions), err)
	}
	return nil
}

// All is every question that has no answer yet.
func (b *inbox) All(ctx context.Context) ([]question, error) {
	senders, err := b.redis.SMembers(ctx, b.base+"senders").Result()
	if err != nil {
		return nil, err
	}
	var all []question
	for _, sender := range senders {
		texts, err := b.redis.LRange(ctx, b.of(sender), 0, -1).Result()
		if err != nil {
			return nil, err
		}
		for _, text := range texts {
			var q question
			if err := json.Unmarshal([]byte(text), &q); err != nil {
				return nil, fmt.Errorf("%s holds something else: %w", b.of(sender), err)
			}
			all = append(all, q)
		}
	}
	return all, nil
}

// turn says what to do with an answer.
type turn int

const (
	answered turn = iota // it was sent before
	later                // others of this sender go first
	next
)

// Turn tells whether it is the turn of a question.
func (b *inbox) Turn(ctx context.Context, q question) (turn, error) {
	texts, err := b.redis.LRange(ctx, b.of(q.From), 0, -1).Result()
	if err != nil {
		return later, err
	}
	for i, text := range texts {
		var other question
		if err := json.Unmarshal([]byte(text), &other); err != nil {
			return later, fmt.Errorf("%s holds something else: %w", b.of(q.From), err)
		}
		switch {
		case other.ID == q.ID && i == 0:
			return next, nil
		case other.ID == q.ID:
			return later, nil
		}
	}
	return answered, nil
}

// Done drops a question whose turn it was: the bot is the only one who sends, so it is the first one still.
func (b *inbox) Done(ctx context.Context, q question) error {
	return b.redis.LPop(ctx, b.of(q.From)).Err()
}
