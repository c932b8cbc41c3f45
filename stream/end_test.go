package stream

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// greet is a server that says hello, and nothing to a script: it hangs up, or is silent.
func greet(conn net.Conn, silent bool) {
	defer func() { _ = conn.Close() }()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		var answer string
		switch strings.ToLower(lines.Text()) {
		case "hello":
			answer = "-ERR unknown command\r\n"
		case "ping":
			answer = "+PONG\r\n"
		case "evalsha", "eval":
			if !silent {
				return
			}
			continue
		default:
			continue
		}
		go func() { _, _ = conn.Write([]byte(answer)) }() // the rest of the request is not read yet
	}
}

// openEnded returns a client of a server that never answers a call.
func openEnded(t *testing.T, silent bool) (client *Client, end func()) {
	t.Helper()
	dial := func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go greet(there, silent)
		return here, nil
	}
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", Dialer: dial, Protocol: 2, DisableIdentity: true})
	store, err := NewStore(rdb, Config{})
	if err != nil {
		t.Fatal(err)
	}
	client, err = NewClient(store, ClientConfig{RetryFor: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return client, func() {
		_ = store.Close()
		_ = rdb.Close()
	}
}

func TestACallThatEndsBeforeItsSessionIsOpenTellsWhy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, end := openEnded(t, true)
		defer end()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := (Func[int, int]{Name: "work"}).Call(ctx, client, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want an error that is context.DeadlineExceeded", err)
		}
	})
}

func TestAnEnqueueGivesUpOnceItsStoreIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, end := openEnded(t, false)
		time.AfterFunc(time.Second, end)
		began := time.Now()
		_, err := (Func[int, int]{Name: "work"}).Enqueue(t.Context(), client, 1)
		if took := time.Since(began); !errors.Is(err, ErrUnknownOutcome) || took > 2*maxBackoff+time.Second {
			t.Errorf("after %v: got %v, want ErrUnknownOutcome within moments of the end of the store", took, err)
		}
	})
}
