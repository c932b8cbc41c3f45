package script_test

import (
	"errors"

	"github.com/redis/go-redis/v9"
)

var errNotOK = errors.New("refused")

func isFull(err error) bool { return redis.HasErrorPrefix(err, "OOM") }

func second(_ string, _ bool, err error) error { return err }

func notOK(ok bool, err error) error {
	if err == nil && !ok {
		return errNotOK
	}
	return err
}
