package supervise_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/athoune/worker-machine/internal/supervise"
)

var errBroken = errors.New("broken")

// diary notes what loops do, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// untilStopped is a loop that takes a second to stop.
func (d *diary) untilStopped(name string) supervise.Loop {
	return supervise.Loop{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		d.note(name + " stops")
		<-time.After(time.Second)
		d.note(name + " stopped")
		return ctx.Err()
	}}
}

func TestRunStopsInReverseAndWaitsForEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var d diary
		time.AfterFunc(time.Minute, cancel)
		began := time.Now()
		err := supervise.Run(ctx, supervise.Options{}, d.untilStopped("a"), d.untilStopped("b"), d.untilStopped("c"))
		if err != nil {
			t.Fatalf("a clean end: got %v, want nil", err)
		}
		want := []string{"c stops", "c stopped", "b stops", "b stopped", "a stops", "a stopped"}
		if got := d.read(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := time.Since(began), time.Minute+3*time.Second; got != want {
			t.Errorf("took %v, want %v", got, want)
		}
	})
}

func TestRunRestartsWithGrowingBoundedBackoff(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"an error": func() error { return errBroken },
		"a panic":  func() error { panic(errBroken) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zapcore.DebugLevel)
				var starts []time.Time
				opts := supervise.Options{Logger: zap.New(core), MinBackoff: 10 * time.Millisecond, MaxBackoff: time.Second}
				err := supervise.Run(t.Context(), opts, supervise.Loop{Name: "flaky", Run: func(context.Context) error {
					if starts = append(starts, time.Now()); len(starts) <= 40 {
						return fail()
					}
					return nil
				}})
				if err != nil || len(starts) != 41 {
					t.Fatalf("got %v after %d starts, want nil after 41", err, len(starts))
				}
				checkBackoff(t, starts, opts)
				if got := logs.FilterField(zap.String("loop", "flaky")).Len(); got != 40 {
					t.Errorf("logged %d restarts, want 40", got)
				}
				if got := logs.FilterLevelExact(zapcore.WarnLevel).Len(); got != 1 {
					t.Errorf("warned %d times, want once for the whole trouble", got)
				}
				first, ok := logs.All()[0].ContextMap()["error"].(string)
				if !ok || !strings.Contains(first, "broken") {
					t.Errorf("logged error: got %q", first)
				}
			})
		})
	}
}

func checkBackoff(t *testing.T, starts []time.Time, opts supervise.Options) {
	t.Helper()
	ceiling, longest := opts.MinBackoff, time.Duration(0)
	for i := 1; i < len(starts); i++ {
		wait := starts[i].Sub(starts[i-1])
		if wait <= 0 || wait > ceiling {
			t.Errorf("wait %d: got %v, want in (0, %v]", i, wait, ceiling)
		}
		longest = max(longest, wait)
		ceiling = min(2*ceiling, opts.MaxBackoff)
	}
	if longest < opts.MaxBackoff/2 { // one in 2^33 with full jitter
		t.Errorf("longest wait of 40 is %v: the backoff does not grow to %v", longest, opts.MaxBackoff)
	}
}

func TestRunStartsAnewFromTheFirstBackoffAfterAGoodWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		var failed time.Time
		opts := supervise.Options{MinBackoff: 10 * time.Millisecond, MaxBackoff: time.Second}
		err := supervise.Run(t.Context(), opts, supervise.Loop{Name: "flaky", Run: func(context.Context) error {
			if !failed.IsZero() {
				waits = append(waits, time.Since(failed))
			}
			if len(waits) == 30 {
				return nil
			}
			<-time.After(2 * time.Second) // longer than MaxBackoff
			failed = time.Now()
			return errBroken
		}})
		if err != nil {
			t.Fatal(err)
		}
		if longest := slices.Max(waits); longest > opts.MinBackoff {
			t.Errorf("longest wait: got %v, want at most %v", longest, opts.MinBackoff)
		}
	})
}

func TestRunEndsEverythingOnAFatalError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		err := supervise.Run(t.Context(), supervise.Options{},
			d.untilStopped("a"),
			supervise.Loop{Name: "b", Run: func(context.Context) error {
				<-time.After(time.Minute)
				return supervise.Fatal(errBroken)
			}},
			d.untilStopped("c"),
		)
		if !errors.Is(err, errBroken) || err.Error() != "supervise: loop b: broken" {
			t.Errorf("got %v, want the error of loop b", err)
		}
		if got, want := d.read(), []string{"c stops", "c stopped", "a stops", "a stopped"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestRunReportsAFatalErrorOfALoopThatStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		err := supervise.Run(ctx, supervise.Options{}, supervise.Loop{Name: "a", Run: func(ctx context.Context) error {
			<-ctx.Done()
			return supervise.Fatal(errBroken)
		}})
		if !errors.Is(err, errBroken) {
			t.Errorf("got %v, want %v", err, errBroken)
		}
	})
}

func TestRunEndsWhenAllLoopsAreDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		done := supervise.Loop{Name: "done", Run: func(context.Context) error { return nil }}
		if err := supervise.Run(t.Context(), supervise.Options{}, done, done); err != nil {
			t.Error(err)
		}
		if err := supervise.Run(t.Context(), supervise.Options{}); err != nil {
			t.Error(err)
		}
	})
}

func TestRunStopsALoopThatWaitsForItsRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		opts := supervise.Options{MinBackoff: 1000 * time.Hour}
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		err := supervise.Run(ctx, opts, supervise.Loop{Name: "a", Run: func(context.Context) error { return errBroken }})
		if err != nil || time.Since(began) != time.Second {
			t.Errorf("got %v after %v, want nil after 1s", err, time.Since(began))
		}
	})
}

func TestLoopsSeeTheValuesOfTheContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "v")
	var got any
	_ = supervise.Run(ctx, supervise.Options{}, supervise.Loop{Name: "a", Run: func(ctx context.Context) error {
		got = ctx.Value(key{})
		return nil
	}})
	if got != "v" {
		t.Errorf("got %v, want v", got)
	}
}

func TestFatalOfNilIsNil(t *testing.T) {
	t.Parallel()
	if err := supervise.Fatal(nil); err != nil {
		t.Errorf("got %v", err)
	}
}
