package group

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

func TestBackoffDoublesUpToItsMost(t *testing.T) {
	t.Parallel()
	b := Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for attempt, ceiling := range map[int]time.Duration{
		1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 4: 800 * time.Millisecond, 5: time.Second, 60: time.Second, 10000: time.Second,
	} {
		var most time.Duration
		for range 2000 {
			wait := b.wait(attempt)
			if wait <= 0 || wait > ceiling {
				t.Fatalf("attempt %d: got %v, want more than 0 and at most %v", attempt, wait, ceiling)
			}
			most = max(most, wait)
		}
		if most < ceiling*9/10 {
			t.Errorf("attempt %d: most of 2000 waits is %v, want the jitter to reach %v", attempt, most, ceiling)
		}
	}
	if wait := (Backoff{Min: time.Hour, Max: math.MaxInt64 - 1}).wait(200); wait <= 0 {
		t.Errorf("no limit: got %v, want no overflow", wait)
	}
}

func TestEntryIDs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]entryID{
		"1-2": {1, 2}, "0-0": {}, "18446744073709551615-18446744073709551615": {math.MaxUint64, math.MaxUint64}, "5": {5, 0}, "x-1": {}, "": {},
	} {
		if got := parseEntryID(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	if id := (entryID{7, 8}); id.String() != "7-8" || !id.less(entryID{7, 9}) || !id.less(entryID{8, 0}) || id.less(id) {
		t.Errorf("%v: wrong text or order", id)
	}
}

func TestWeightedOrderStarvesNobody(t *testing.T) {
	t.Parallel()
	feeds := []*feed{{queue: Queue{Name: "a", Weight: 6}}, {queue: Queue{Name: "b", Weight: 3}}, {queue: Queue{Name: "c", Weight: 1}}}
	p := newPolicy(feeds, false)
	first := map[string]int{}
	const rounds = 20000
	for range rounds {
		order := p.next()
		seen := map[string]bool{}
		for _, f := range order {
			seen[f.queue.Name] = true
		}
		if len(seen) != 3 {
			t.Fatalf("a pass leaves a queue out: %v", seen)
		}
		first[order[0].queue.Name]++
	}
	for name, share := range map[string]float64{"a": .6, "b": .3, "c": .1} {
		if got := float64(first[name]) / rounds; math.Abs(got-share) > .02 {
			t.Errorf("%s was first in %.2f of all passes, want %.2f", name, got, share)
		}
	}
}

// testFlight is one without a feed, for tests of the pool.
func testFlight() *flight {
	f := &flight{}
	f.context.flight = f
	return f
}

func TestPoolPrefetchesAMomentOfWork(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		limit int
		took  time.Duration
		want  int
	}{
		"not measured":   {8, 0, 0},
		"a second":       {8, time.Second, 0},
		"5 ms":           {8, 5 * time.Millisecond, 8},
		"1 ms":           {8, time.Millisecond, 40},
		"a microsecond":  {8, time.Microsecond, prefetchMost},
		"a nanosecond":   {8, time.Nanosecond, prefetchMost},
		"many and quick": {1000, time.Millisecond, prefetchMost},
	} {
		p := newPool(test.limit, nil)
		p.weigh(1, 100)
		if test.took > 0 {
			p.measure(test.took)
		}
		if got := p.prefetch(); got != test.want || p.free() != test.limit+test.want {
			t.Errorf("%s: got %d ahead and %d free, want %d and %d", name, got, p.free(), test.want, test.limit+test.want)
		}
	}
}

func TestPoolTakesNoMoreBytesThanItMayHold(t *testing.T) {
	t.Parallel()
	p := newPool(100, nil)
	if got := p.free(); got != firstRead {
		t.Errorf("nothing known: got %d, want %d", got, firstRead)
	}
	p.measure(time.Microsecond)
	for _, step := range []struct{ entries, bytes, want int }{
		{10, 1000, 100 + prefetchMost},
		{2, 2 << 20, 16}, // at once
		{1, 64 << 20, 1},
		{1, 1, 1}, // slowly
	} {
		p.weigh(step.entries, step.bytes)
		if got := p.free(); got != step.want {
			t.Errorf("after %d entries of %d bytes in all: got %d, want %d", step.entries, step.bytes, got, step.want)
		}
	}
	for range 500 {
		p.weigh(1, 100)
	}
	if got := p.free(); got != 100+prefetchMost {
		t.Errorf("after many small ones: got %d, want %d", got, 100+prefetchMost)
	}
}

func TestPoolRunsAtMostItsLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		running, most, ended := 0, 0, 0
		lock := make(chan struct{}, 1)
		p := newPool(3, func(f *flight) {
			f.started = time.Now()
			lock <- struct{}{}
			running++
			most = max(most, running)
			<-lock
			time.Sleep(time.Second) //nolint:forbidigo // virtual
			lock <- struct{}{}
			running--
			ended++
			<-lock
		})
		var batch []*flight
		for range 10 {
			batch = append(batch, testFlight())
		}
		began := time.Now()
		defer p.close()
		p.push(batch)
		synctest.Wait()
		if p.free() != 0 || p.running() != 3 {
			t.Errorf("free %d, running %d; want 0 and 3", p.free(), p.running())
		}
		for !p.idle() {
			time.Sleep(time.Millisecond) //nolint:forbidigo // virtual
		}
		if most != 3 || ended != 10 || time.Since(began).Round(time.Second) != 4*time.Second {
			t.Errorf("most %d, ended %d after %v; want 3, 10 after 4s", most, ended, time.Since(began))
		}
	})
}

func TestPoolGivesTheSlotOfAStuckFlightAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stuck, other := testFlight(), testFlight()
		hang, ran := make(chan struct{}), make(chan struct{})
		p := newPool(1, func(f *flight) {
			f.started = time.Now()
			if f == stuck {
				<-hang
				return
			}
			close(ran)
		})
		defer p.close()
		p.push([]*flight{stuck, other})
		synctest.Wait()
		p.abandon(stuck)
		p.abandon(stuck)
		<-ran
		synctest.Wait()
		if n := p.running(); n != 0 {
			t.Errorf("running: got %d, want 0", n)
		}
		close(hang)
		synctest.Wait()
		if n := p.running(); n != 0 {
			t.Errorf("running after it came back: got %d, want 0", n)
		}
	})
}

func TestSoloFlightHasNothingBesideIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		solo, other := testFlight(), testFlight()
		var p *pool
		p = newPool(4, func(f *flight) {
			f.started = time.Now()
			time.Sleep(time.Second) //nolint:forbidigo // virtual
			if f == solo && p.running() != 1 {
				t.Errorf("%d run beside it", p.running()-1)
			}
		})
		defer p.close()
		p.setAlone(true)
		p.runAlone(solo)
		p.push([]*flight{other})
		time.Sleep(500 * time.Millisecond) //nolint:forbidigo // virtual
		if other.state.Load() != flightWaiting || p.free() != 0 {
			t.Errorf("the other one: state %d, %d free; want waiting and 0", other.state.Load(), p.free())
		}
		p.setAlone(false)
		time.Sleep(5 * time.Second) //nolint:forbidigo // virtual
		if !p.idle() {
			t.Error("the other one did not run afterwards")
		}
	})
}

func TestTaskContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		parent := context.WithValue(t.Context(), key{}, "v")
		fresh := func(limit time.Duration) *taskContext {
			f := testFlight()
			f.context.parent = parent
			if limit > 0 {
				f.context.limit = time.Now().Add(limit)
			}
			return &f.context
		}
		plain := fresh(0)
		if plain.Err() != nil || plain.Value(key{}) != "v" || plain.Err() != nil {
			t.Error("a fresh context has an error, or not its parent's values")
		}
		plain.end(ErrDrain)
		plain.end(ErrLeaseLost)
		if err := context.Cause(plain); !errors.Is(err, ErrDrain) || !errors.Is(plain.Err(), context.Canceled) {
			t.Errorf("got cause %v, error %v; want the first cause", err, plain.Err())
		}
		early := fresh(0) // ended before anybody looked
		early.end(ErrLeaseLost)
		if err := context.Cause(early); !errors.Is(err, ErrLeaseLost) || early.Err() == nil {
			t.Errorf("ended before it was used: got cause %v", err)
		}
		<-early.Done()
		limited := fresh(time.Second)
		child, cancel := context.WithCancel(limited)
		defer cancel()
		if at, ok := limited.Deadline(); !ok || time.Until(at) != time.Second {
			t.Errorf("deadline: got %v, %v", at, ok)
		}
		<-child.Done()
		if err := context.Cause(child); !errors.Is(err, ErrTimeout) {
			t.Errorf("cause after the deadline: got %v, want ErrTimeout", err)
		}
		late := fresh(time.Second)  // nobody looked before it was over
		time.Sleep(2 * time.Second) //nolint:forbidigo // virtual
		if !errors.Is(late.Err(), context.DeadlineExceeded) {
			t.Errorf("looked at late: got %v", late.Err())
		}
		late.end(errConcluded)
	})
}

func TestFlightsAreNotTakenTwice(t *testing.T) {
	t.Parallel()
	s := newFlights()
	first, again, other := &flight{entry: "1-1"}, &flight{entry: "1-1"}, &flight{entry: "2-1"}
	if got := s.add([]*flight{first, again, other}); len(got) != 2 {
		t.Errorf("added: got %d, want 2", len(got))
	}
	end := s.watch()
	s.remove(first)
	if got := s.add([]*flight{{entry: "1-1"}}); len(got) != 0 {
		t.Error("an entry that ended while history was read was taken again")
	}
	end()
	if got := s.add([]*flight{{entry: "1-1"}}); len(got) != 1 {
		t.Error("an entry was refused although no history is read")
	}
	if n, added := s.census(); n != 2 || added != 3 {
		t.Errorf("census: got %d of %d, want 2 of 3", n, added)
	}
}

func TestPortionsOfACommit(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 3<<20)
	small := make([]result, script.MaxCommitItems+1)
	for name, test := range map[string]struct {
		batch []result
		want  int
	}{
		"many":       {small, script.MaxCommitItems},
		"few":        {small[:3], 3},
		"two big":    {[]result{{outcome: big}, {outcome: big}}, 1},
		"one bigger": {[]result{{outcome: big + big}, {}}, 1},
	} {
		if got := portion(test.batch); got != test.want {
			t.Errorf("%s: got %d, want %d", name, got, test.want)
		}
	}
}

func TestNamesAreFitForKeys(t *testing.T) {
	t.Parallel()
	a, b := newName(), newName()
	if a == b || wire.CheckName("worker", a) != nil {
		t.Errorf("got %q and %q, want two names that pass the check", a, b)
	}
}

func TestLimiterLetsOneThroughAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l limiter
		if !l.allow("a") || l.allow("a") || !l.allow("b") {
			t.Error("want one of each kind")
		}
		time.Sleep(time.Minute) //nolint:forbidigo // virtual
		if !l.allow("a") {
			t.Error("want another one after a minute")
		}
	})
}

func TestTheLongestTimeoutDoesNotOverflow(t *testing.T) {
	t.Parallel()
	c, err := Config{Timeout: 1<<63 - 1}.normalize()
	if err != nil || c.Timeout+stuckGrace < c.Timeout {
		t.Errorf("%v and %v is %v, %v", c.Timeout, stuckGrace, c.Timeout+stuckGrace, err)
	}
}
