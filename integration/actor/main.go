// Command actor is the process under test: a worker, a client or a program, that writes down what it sees. The tests of integration build
// it, start many of them, and kill and freeze them. What it is to do comes in an environment variable, see [role.Spec].
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/integration/internal/history"
	"github.com/athoune/worker-machine/integration/internal/role"
	"github.com/athoune/worker-machine/stream"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "actor:", err)
		os.Exit(1)
	}
}

func run() error {
	s, w, err := role.Read()
	if err != nil {
		return err
	}
	defer w.Close()
	play := map[string]func(*actor) error{role.Worker: (*actor).work, role.Client: (*actor).order, role.Exec: (*actor).exec}[s.Role]
	if play == nil {
		return fmt.Errorf("%s: the role %q is none of worker, client, exec", role.Variable, s.Role)
	}
	a := &actor{Spec: s, history: w}
	if s.Role == role.Exec {
		return play(a)
	}
	before := held()
	if err := a.open(); err != nil {
		return err
	}
	err = play(a)
	a.close()
	a.tellWhatIsHeld(before)
	return err
}

// actor plays one role.
type actor struct {
	role.Spec
	history *history.Writer
	redis   redis.UniversalClient
	store   *stream.Store
}

func (a *actor) open() error {
	secure, err := a.secure()
	if err != nil {
		return err
	}
	a.redis = redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: a.Addrs, MasterName: a.Master, IsClusterMode: a.Cluster, Password: a.Password, SentinelPassword: "", PoolSize: a.Pool,
		TLSConfig: secure,
	})
	config := zap.NewProductionConfig() // to standard error
	config.Level.SetLevel(zap.InfoLevel)
	config.Sampling = nil
	logger, err := config.Build()
	if err != nil {
		return err
	}
	a.store, err = stream.NewStore(a.redis, stream.Config{Prefix: a.Prefix, Logger: logger})
	return err
}

// secure is how to know the server by its certificate, nil for a connection without TLS.
func (a *actor) secure() (*tls.Config, error) {
	if a.CA == "" {
		return nil, nil //nolint:nilnil // no TLS is no error
	}
	text, err := os.ReadFile(a.CA)
	if err != nil {
		return nil, err
	}
	known := x509.NewCertPool()
	if !known.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: there is no certificate in it", a.CA)
	}
	return &tls.Config{RootCAs: known, MinVersion: tls.VersionTLS12}, nil
}

func (a *actor) close() {
	if err := a.store.Close(); err != nil {
		a.left("closing the store: %v", err)
	}
	if err := a.redis.Close(); err != nil {
		a.left("closing the Redis client: %v", err)
	}
}

func (a *actor) left(format string, args ...any) {
	a.history.Write(history.Record{Kind: history.Left, Text: fmt.Sprintf(format, args...)})
}

// holding is what a process has of what can leak.
type holding struct{ goroutines, descriptors int }

func held() holding {
	files, _ := os.ReadDir("/proc/self/fd") // elsewhere there are none
	return holding{runtime.NumGoroutine(), len(files)}
}

// tellWhatIsHeld compares with the beginning, when everything is closed. What is just ending gets a moment.
func (a *actor) tellWhatIsHeld(before holding) {
	const tries, spare = 100, 3 // signals, the reader of standard input, a descriptor of the runtime
	var now holding
	for range tries {
		now = held()
		if now.goroutines <= before.goroutines+spare && now.descriptors <= before.descriptors+spare {
			return
		}
		_ = pause(context.Background(), 50*time.Millisecond) //nolint:forbidigo // the main of a process
	}
	a.left("the process holds %d goroutines and %d descriptors, had %d and %d at the start", now.goroutines, now.descriptors, before.goroutines, before.descriptors)
}

// pause lasts so long, or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
