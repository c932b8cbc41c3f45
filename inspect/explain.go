package inspect

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// explain says which key of a queue is of a wrong type, and what to do, where that is why a call failed.
func (i *Inspector) explain(ctx context.Context, err error, queue string) error {
	if !isWrongType(err) {
		return err
	}
	for _, c := range i.looksAt(ctx, queue) {
		if isWrongType(c.answer.Err()) {
			return fmt.Errorf("key %s is no %s, so another program has written it: rename or delete it: %w", c.key, c.kind, c.answer.Err())
		}
	}
	return err
}

// typed is a key that was asked in a way that only its type answers.
type typed struct {
	key, kind string
	answer    redis.Cmder
}

func (i *Inspector) looksAt(ctx context.Context, queue string) []typed {
	keys, pipe := i.store.Keys(queue), i.store.Client().Pipeline()
	all := []typed{
		{keys.Tasks(), "stream", pipe.XLen(ctx, keys.Tasks())},
		{keys.Due(), "sorted set", pipe.ZCard(ctx, keys.Due())},
		{keys.Body(), "hash", pipe.HLen(ctx, keys.Body())},
		{keys.Dead(), "stream", pipe.XLen(ctx, keys.Dead())},
		{keys.Crashes(), "hash", pipe.HLen(ctx, keys.Crashes())},
		{keys.Chunks(), "hash", pipe.HLen(ctx, keys.Chunks())},
		{keys.State(), "hash", pipe.HLen(ctx, keys.State())},
		{keys.Counts(), "hash", pipe.HLen(ctx, keys.Counts())},
		{keys.Cancels(), "sorted set", pipe.ZCard(ctx, keys.Cancels())},
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	return all
}

func isWrongType(err error) bool {
	var refused redis.Error
	return errors.As(err, &refused) && redis.HasErrorPrefix(err, "WRONGTYPE")
}
