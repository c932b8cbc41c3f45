package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// stage is a fleet of processes that exist in the test alone, in virtual time.
type stage struct {
	t     *testing.T
	fleet *Fleet
	stop  context.CancelFunc
	ended chan error

	mu     sync.Mutex
	actors []*actor
	story  []string               // what happened, without times
	play   func(a *actor)         // what a process does; it runs in a goroutine of its own
	refuse func(number int) error // of a start, if not nil
}

// actor is one such process.
type actor struct {
	stage  *stage
	number int // of its start, from 1
	slot   int
	from   reporter
	began  time.Time
	asked  chan os.Signal
	killed chan struct{}
	once   sync.Once
	rss    int64
}

func (a *actor) PID() int { return a.number }
func (a *actor) Signal(s os.Signal) {
	a.stage.tell("%v to %d", s, a.number)
	select {
	case a.asked <- s:
	default:
	}
}

func (a *actor) Kill() {
	a.stage.tell("kill %d", a.number)
	a.once.Do(func() { close(a.killed) })
}
func (a *actor) RSS() int64     { return a.rss }
func (a *actor) Said() []string { return []string{"no such database"} }

func (a *actor) ready()      { a.from.send(report{ready: "it says so"}) }
func (a *actor) tasks(n int) { a.from.send(report{tasks: int64(n)}) }

func (a *actor) end(clean bool, text string) {
	a.stage.tell("end of %d", a.number)
	a.from.send(report{end: &End{Clean: clean, Text: text}})
}

// obey works until it is asked to end or killed.
func (a *actor) obey() {
	a.ready()
	a.untilAsked(0)
}

// untilAsked waits for the signal to end, and then as long as it takes to drain.
func (a *actor) untilAsked(drain time.Duration) {
	for {
		select {
		case <-a.killed:
			a.end(false, "signal: killed")
			return
		case s := <-a.asked:
			if s == syscall.SIGUSR1 {
				continue
			}
			select {
			case <-a.killed:
				a.end(false, "signal: killed")
			case <-time.After(drain):
				a.end(true, "exit status 0")
			}
			return
		}
	}
}

func (s *stage) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.story = append(s.story, fmt.Sprintf(format, args...))
}

// told is the story since the last call.
func (s *stage) told() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.story = nil }()
	return strings.Join(s.story, ", ")
}

func (s *stage) want(story string) {
	s.t.Helper()
	if got := s.told(); got != story {
		s.t.Errorf("at %v it happened:\n  %s\nwant\n  %s", time.Now().Format(time.TimeOnly), got, story)
	}
}

// perform runs a fleet in a bubble; of what a test does not say, the processes are ready at once and obey.
func perform(t *testing.T, cfg Config, play func(*actor), test func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Argv = []string{"true"}
		cfg, err := cfg.normalize()
		if err != nil {
			t.Fatal(err)
		}
		s := &stage{t: t, fleet: newFleet(cfg), ended: make(chan error, 1), play: play}
		s.fleet.launch = s.launch
		ctx, stop := context.WithCancel(t.Context())
		s.stop = stop
		go func() { s.ended <- s.fleet.Run(ctx) }()
		test(s)
		stop()
		s.fleet.Kill()
		<-s.fleet.over
	})
}

func (s *stage) launch(from reporter) (child, error) {
	s.mu.Lock()
	a := &actor{
		stage: s, number: len(s.actors) + 1, slot: from.process.slot.number, from: from, began: time.Now(),
		asked: make(chan os.Signal, 4), killed: make(chan struct{}),
	}
	s.actors = append(s.actors, a)
	refuse, play := s.refuse, s.play
	s.mu.Unlock()
	s.tell("start %d in %d", a.number, a.slot)
	if refuse != nil {
		if err := refuse(a.number); err != nil {
			return nil, err
		}
	}
	go play(a)
	return a, nil
}

func (s *stage) setPlay(play func(*actor)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.play = play
}

func (s *stage) actor(number int) *actor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.actors[number-1]
}

func (s *stage) starts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.actors)
}

// wait lets virtual time pass.
func wait(d time.Duration) { <-time.After(d) }

func (s *stage) status() Status {
	s.t.Helper()
	status, ok := s.fleet.Status()
	if !ok {
		s.t.Fatal("the fleet has ended")
	}
	return status
}

func TestAProcessThatEndsIsStartedAgain(t *testing.T) {
	t.Parallel()
	perform(t, Config{Processes: 2}, (*actor).obey, func(s *stage) {
		s.want("start 1 in 1, start 2 in 2")
		wait(time.Minute)
		s.actor(2).Kill()
		wait(defaultMinDelay)
		s.want("kill 2, end of 2, start 3 in 2")
		if got := s.status(); got.Ready != 2 || got.Crashes != 0 || got.Starts != 3 {
			t.Errorf("the state is %+v", got)
		}
	})
}

func TestBackoffAndTheLimitOfOneSlot(t *testing.T) {
	t.Parallel()
	cfg := Config{Restart: Restart{MinDelay: 100 * time.Millisecond, MaxDelay: time.Second, CrashLimit: 6}}
	perform(t, cfg, func(a *actor) { a.end(false, "exit status 7") }, func(s *stage) {
		began := time.Now()
		err := <-s.ended
		var loop *CrashLoopError
		if !errors.As(err, &loop) || loop.Crashes != 6 || loop.Last != "exit status 7" {
			t.Fatalf("it ended with %v", err)
		}
		for _, part := range []string{"true crashed 6 times in a row", "exit status 7", "no such database"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q is not in %q", part, err)
			}
		}
		if got := s.starts(); got != 6 {
			t.Errorf("%d starts, want 6", got)
		}
		for i, ceiling := range []int{100, 200, 400, 800, 1000} {
			most := time.Duration(ceiling) * time.Millisecond
			if gap := s.actor(i + 2).began.Sub(s.actor(i + 1).began); gap <= 0 || gap > most+1 {
				t.Errorf("start %d came after %v, want at most %v", i+2, gap, most)
			}
		}
		if took := time.Since(began); took == 0 {
			t.Error("there was no backoff")
		}
	})
}

func TestJitterIsFull(t *testing.T) {
	t.Parallel()
	r, err := Restart{MinDelay: time.Second, MaxDelay: 8 * time.Second}.normalize(1)
	if err != nil {
		t.Fatal(err)
	}
	const looks = 2000
	below, above := 0, 0
	for range looks {
		d := r.delay(3)
		if d <= 0 || d > 4*time.Second+1 {
			t.Fatalf("the third wait is %v", d)
		}
		if d < time.Second {
			below++
		}
		if d > 3*time.Second {
			above++
		}
	}
	if below < looks/8 || above < looks/8 {
		t.Errorf("of %d waits below 4s %d are in the first second and %d in the last", looks, below, above)
	}
	for crashes, want := range map[int]float64{1: 1, 2: 2, 4: 8, 5: 8, 1000: 8} {
		if got := r.ceiling(crashes); got.Seconds() != want {
			t.Errorf("after %d crashes at most %v, want %vs", crashes, got, want)
		}
	}
}

func TestCrashesAreForgottenWhenAProcessGetsWell(t *testing.T) {
	t.Parallel()
	cfg := Config{Restart: Restart{CrashLimit: 3, MinUptime: time.Second}}
	lives := func(a *actor) {
		a.ready()
		if a.number%3 == 0 { // two crashes, and a good one
			wait(2 * time.Second)
		}
		a.end(false, "exit status 1")
	}
	perform(t, cfg, lives, func(s *stage) {
		wait(time.Minute)
		if got := s.status(); got.Starts < 20 || got.State != "running" {
			t.Errorf("after a minute: %d starts, %s", got.Starts, got.State)
		}
	})
}

func TestLimitOfTheFleet(t *testing.T) {
	t.Parallel()
	cfg := Config{Processes: 4, Restart: Restart{CrashLimit: 100, CrashLimits: 8}}
	crash := func(a *actor) { a.end(false, "exit status 1") }
	perform(t, cfg, crash, func(s *stage) {
		if err := <-s.ended; err == nil || s.starts() < 8 || s.starts() > 11 {
			t.Errorf("%v after %d starts", err, s.starts())
		}
	})
}

func TestOneSlotIsGivenUpAndOthersGoOn(t *testing.T) {
	t.Parallel()
	cfg := Config{Processes: 2, Restart: Restart{CrashLimit: 3, CrashLimits: 100}}
	bad := func(a *actor) {
		if a.slot == 2 {
			a.end(false, "exit status 1")
			return
		}
		a.obey()
	}
	perform(t, cfg, bad, func(s *stage) {
		wait(time.Minute)
		got := s.status()
		if s.starts() != 4 || got.Slots[0].State != "ready" || got.Slots[1].State != "given up" {
			t.Errorf("%d starts, %+v", s.starts(), got.Slots)
		}
		s.setPlay((*actor).obey)
		s.fleet.Roll() // tries it again
		wait(time.Second)
		if got := s.status(); got.Ready != 2 {
			t.Errorf("after SIGHUP: %+v", got.Slots)
		}
	})
}

func TestAlwaysAndNever(t *testing.T) {
	t.Parallel()
	crash := func(a *actor) { a.end(false, "exit status 1") }
	perform(t, Config{Restart: Restart{Policy: Always, MinDelay: time.Second, CrashLimit: 3}}, crash, func(s *stage) {
		wait(20*time.Second + time.Millisecond)
		if got := s.starts(); got != 21 {
			t.Errorf("always: %d starts in 20s, want one a second", got)
		}
	})
	perform(t, Config{Processes: 3, Restart: Restart{Policy: Never}}, crash, func(s *stage) {
		if err := <-s.ended; err == nil || s.starts() != 3 || !strings.Contains(err.Error(), "3 of 3 processes failed") {
			t.Errorf("never: %d starts, then %v", s.starts(), err)
		}
	})
	clean := func(a *actor) { a.end(true, "exit status 0") }
	perform(t, Config{Processes: 3, Restart: Restart{Policy: Never}}, clean, func(s *stage) {
		if err := <-s.ended; err != nil || s.starts() != 3 {
			t.Errorf("never, and all is well: %d starts, then %v", s.starts(), err)
		}
	})
}

func TestAProgramThatCannotBeStartedIsACrash(t *testing.T) {
	t.Parallel()
	perform(t, Config{Processes: 2, Restart: Restart{CrashLimit: 2}}, (*actor).obey, func(s *stage) {
		wait(time.Minute)
		s.mu.Lock()
		s.refuse = func(int) error { return errors.New("text file busy") }
		s.mu.Unlock()
		s.actor(1).Kill()
		s.actor(2).Kill()
		if err := <-s.ended; err == nil || !strings.Contains(err.Error(), "it cannot be started: text file busy") {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestRollStartsFirst(t *testing.T) {
	t.Parallel()
	slow := func(a *actor) {
		wait(time.Second) // to get ready
		a.ready()
		a.untilAsked(2 * time.Second)
	}
	perform(t, Config{Processes: 2}, slow, func(s *stage) {
		wait(time.Minute)
		s.told()
		s.fleet.Roll()
		s.want("start 3 in 1")
		if got := s.status(); got.State != "rolling" || got.Slots[0].Next != 3 || got.Slots[0].PID != 1 {
			t.Errorf("while it rolls: %+v", got)
		}
		wait(999 * time.Millisecond)
		s.want("")
		wait(time.Millisecond)
		s.want("terminated to 1")
		wait(2 * time.Second)
		s.want("end of 1, start 4 in 2")
		wait(3 * time.Second)
		s.want("terminated to 2, end of 2")
		wait(time.Hour)
		s.want("")
	})
}

// TestARollNeedsNoWordOfAnybody has processes that say nothing: time alone moves the fleet.
func TestARollNeedsNoWordOfAnybody(t *testing.T) {
	t.Parallel()
	deaf := func(a *actor) {
		<-a.killed
		a.end(false, "signal: killed")
	}
	perform(t, Config{Processes: 2, Ready: 5 * time.Second, Drain: 20 * time.Second}, deaf, func(s *stage) {
		wait(time.Minute)
		s.told()
		s.fleet.Roll()
		wait(5 * time.Second)
		s.want("start 3 in 1, terminated to 1")
		wait(20 * time.Second)
		s.want("kill 1, end of 1, start 4 in 2")
		wait(25 * time.Second)
		s.want("terminated to 2, kill 2, end of 2")
	})
}

func TestAProgramThatCannotBeStartedInARoll(t *testing.T) {
	t.Parallel()
	perform(t, Config{}, (*actor).obey, func(s *stage) {
		wait(time.Minute)
		s.mu.Lock()
		s.refuse = func(int) error { return errors.New("permission denied") }
		s.mu.Unlock()
		s.fleet.Roll()
		wait(time.Minute)
		if got := s.status(); got.Ready != 1 || got.State != "running" || s.starts() != 1+replaceTries {
			t.Errorf("%d starts, %+v", s.starts(), got)
		}
	})
}

func TestRollStopsFirst(t *testing.T) {
	t.Parallel()
	perform(t, Config{Processes: 2, Roll: StopFirst}, (*actor).obey, func(s *stage) {
		wait(time.Minute)
		s.told()
		s.fleet.Roll()
		s.want("terminated to 1, end of 1, start 3 in 1, terminated to 2, end of 2, start 4 in 2")
	})
}

func TestASecondRollReplacesWhatTheFirstOneStarted(t *testing.T) {
	t.Parallel()
	perform(t, Config{Processes: 3}, func(a *actor) { a.ready(); a.untilAsked(time.Second) }, func(s *stage) {
		wait(time.Minute)
		s.fleet.Roll()
		wait(1500 * time.Millisecond) // the second of three
		s.fleet.Roll()
		wait(time.Minute)
		for _, slot := range s.status().Slots {
			if slot.PID < 6 {
				t.Errorf("slot %d has process %d of the first roll", slot.Number, slot.PID)
			}
		}
	})
}

func TestARollWithABadProgramKeepsTheOldOnes(t *testing.T) {
	t.Parallel()
	for roll, want := range map[Roll]int{StartFirst: 3, StopFirst: 2} {
		cfg := Config{Processes: 3, Roll: roll, Restart: Restart{CrashLimit: 4, MaxDelay: time.Second}}
		perform(t, cfg, (*actor).obey, func(s *stage) {
			wait(time.Minute)
			s.setPlay(func(a *actor) { a.end(false, "exit status 2") })
			s.fleet.Roll()
			wait(time.Hour)
			got := s.status()
			if got.Ready != want || got.State != "running" {
				t.Errorf("%s: %d of 3 are ready, want %d: %+v", roll, got.Ready, want, got)
			}
			if got := s.starts(); got > 3+4 {
				t.Errorf("%s: %d starts", roll, got)
			}
		})
	}
}

func TestTheOldOneDiesWhileItsSuccessorStarts(t *testing.T) {
	t.Parallel()
	slow := func(a *actor) {
		wait(time.Second)
		a.ready()
		a.untilAsked(0)
	}
	perform(t, Config{Processes: 2}, slow, func(s *stage) {
		wait(time.Minute)
		s.told()
		s.fleet.Roll()
		synctest.Wait()
		s.actor(1).Kill()
		s.want("start 3 in 1, kill 1, end of 1")
		wait(time.Second)
		s.want("start 4 in 2") // once 3 is ready
		wait(time.Minute)
		s.want("terminated to 2, end of 2")
	})
}

func TestReplacedByTasksMemoryAndAgeOneAtATime(t *testing.T) {
	t.Parallel()
	drains := func(a *actor) { a.ready(); a.untilAsked(time.Second) }
	perform(t, Config{Processes: 3, Limits: Limits{Tasks: 10}}, drains, func(s *stage) {
		synctest.Wait()
		s.told()
		for i := range 3 {
			s.actor(i + 1).tasks(9)
		}
		wait(time.Minute)
		s.want("")
		for i := range 3 {
			s.actor(i + 1).tasks(10)
		}
		s.want("start 4 in 1, terminated to 1")
		wait(time.Second)
		s.want("end of 1, start 5 in 2, terminated to 2")
		wait(time.Minute)
		s.want("end of 2, start 6 in 3, terminated to 3, end of 3")
	})
	perform(t, Config{Processes: 2, Limits: Limits{RSS: 100}}, drains, func(s *stage) {
		wait(time.Minute)
		s.told()
		s.fleet.do(func() { s.actor(2).rss = 101 })
		wait(10 * time.Second)
		s.want("start 3 in 2, terminated to 2, end of 2")
	})
	perform(t, Config{Processes: 20, Limits: Limits{Age: time.Hour}}, drains, func(s *stage) {
		wait(45*time.Minute - time.Second)
		if got := s.starts(); got != 20 {
			t.Errorf("%d starts before three quarters of the age", got)
		}
		wait(15*time.Minute + 40*time.Second)
		if got := s.starts(); got != 40 {
			t.Errorf("%d starts after the age, want all replaced", got)
		}
		var times []time.Time
		for i := range 20 {
			times = append(times, s.actor(21+i).began)
		}
		slices.SortFunc(times, time.Time.Compare)
		if spread := times[19].Sub(times[0]); spread < 5*time.Minute {
			t.Errorf("all were replaced within %v", spread)
		}
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	slow := func(a *actor) { a.ready(); a.untilAsked(time.Duration(a.number) * 20 * time.Second) }
	perform(t, Config{Processes: 2, Drain: 30 * time.Second}, slow, func(s *stage) {
		wait(time.Minute)
		s.told()
		s.fleet.Stop(os.Interrupt)
		s.want("interrupt to 1, interrupt to 2")
		wait(25 * time.Second)
		s.want("end of 1")
		if got := s.status(); got.State != "stopping" || got.Slots[0].State != "over" || got.Slots[1].State != "stopping" {
			t.Errorf("while it stops: %+v", got)
		}
		wait(5 * time.Second)
		s.want("kill 2, end of 2")
		if err := <-s.ended; err == nil || !strings.Contains(err.Error(), "1 processes did not end") {
			t.Errorf("it ended with %v", err)
		}
	})
	perform(t, Config{Processes: 2}, slow, func(s *stage) {
		wait(time.Minute)
		s.stop()
		wait(time.Second)
		s.fleet.Kill()
		synctest.Wait()
		select {
		case <-s.ended:
		default:
			t.Error("killed processes hold up the end")
		}
	})
	perform(t, Config{Processes: 2}, (*actor).obey, func(s *stage) {
		s.stop()
		if err := <-s.ended; err != nil {
			t.Errorf("a clean end is %v", err)
		}
	})
}

func TestStopWhileRolling(t *testing.T) {
	t.Parallel()
	slow := func(a *actor) {
		if a.number > 1 {
			wait(time.Second)
		}
		a.ready()
		a.untilAsked(time.Second)
	}
	perform(t, Config{}, slow, func(s *stage) {
		wait(time.Minute)
		s.told()
		s.fleet.Roll()
		s.fleet.Stop(syscall.SIGTERM)
		s.want("start 2 in 1, terminated to 1, terminated to 2")
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
		s.want("end of 1, end of 2")
	})
}

func TestSignalsArePassedOn(t *testing.T) {
	t.Parallel()
	perform(t, Config{Processes: 2}, (*actor).obey, func(s *stage) {
		synctest.Wait()
		s.told()
		s.fleet.Signal(syscall.SIGUSR1)
		s.want("user defined signal 1 to 1, user defined signal 1 to 2")
	})
}

func TestASilentProcessIsReadyInTime(t *testing.T) {
	t.Parallel()
	perform(t, Config{Ready: 3 * time.Second}, func(a *actor) { a.untilAsked(0) }, func(s *stage) {
		wait(3*time.Second - 1)
		synctest.Wait()
		if got := s.status(); got.Slots[0].State != "starting" {
			t.Errorf("too early: %+v", got.Slots)
		}
		wait(1)
		synctest.Wait()
		if got := s.status(); got.Slots[0].State != "ready" {
			t.Errorf("too late: %+v", got.Slots)
		}
	})
}

func TestConfigReportsAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := New(Config{
		Argv: []string{"no-such-program-at-all"}, Name: "a b", Processes: -1, Drain: -1, Ready: -1, Roll: "fast", Limits: Limits{Age: -1},
		Restart: Restart{Policy: "maybe", MinDelay: time.Hour, MaxDelay: time.Second, MinUptime: -1, CrashLimit: -1},
	})
	if err == nil {
		t.Fatal("no mistake was found")
	}
	for _, part := range []string{
		"no-such-program-at-all", "--name", "--processes", "--drain", "--ready-after", "--roll", "--max-age", "--restart", "--min-delay", "--min-uptime", "--crash-limit",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in\n%v", part, err)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a fleet without a program")
	}
}
