package top

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/athoune/worker-machine/inspect"
)

// stage is a source that says what it is told to.
type stage struct {
	snapshot Snapshot
	err      error
	wants    []Want
	done     []string
}

func (s *stage) Look(_ context.Context, want Want) (*Snapshot, error) {
	s.wants = append(s.wants, want)
	if s.err != nil {
		return nil, s.err
	}
	copied := s.snapshot
	return &copied, nil
}

func (s *stage) Pause(_ context.Context, queue string) error {
	s.done = append(s.done, "pause "+queue)
	return s.err
}

func (s *stage) Resume(_ context.Context, queue string) error {
	s.done = append(s.done, "resume "+queue)
	return s.err
}

// full is a stage with something of everything.
func full() *stage {
	now := time.Now()
	exactly := func(n int64) inspect.Count { return inspect.Count{N: n, Exact: true} }
	trend := func(scale int64, function string) (list []inspect.Minute) {
		for i := range int64(30) {
			n := (i*i*7%31 + i) * scale
			list = append(list, inspect.Minute{
				At: now.Add(time.Duration(i-30) * time.Minute), Done: n, Waiting: 900*scale - i*i*scale,
				Handler: inspect.Latency{N: n, Mean: 0.02, P50: 0.016, P95: 0.131, P99: 0.262}, Wait: inspect.Latency{N: n, Mean: 1, P50: 1, P95: 2.1, P99: 4.2},
				By: []inspect.Function{
					{Name: function, Done: n, Retried: n / 9, Dead: n / 50, Handler: inspect.Latency{N: n, Mean: 0.02 * float64(scale), P95: 0.131, P99: 0.262}},
					{Name: "ping", Done: 3 * n, Handler: inspect.Latency{N: 3 * n, Mean: 0.0004, P95: 0.001, P99: 0.002}},
				},
			})
		}
		return list
	}
	s := &stage{snapshot: Snapshot{At: now}}
	for i, name := range []string{"images", "mail", "reports-of-the-very-long-name-department", "web"} {
		q := Queue{Queue: inspect.Queue{
			Name: name, Waiting: exactly(int64(i * i * 12345)), Running: exactly(int64(i * 8)), Delayed: exactly(int64(i)), Dead: exactly(int64(i % 2 * 431)), Workers: exactly(int64(i * 5)),
			Oldest: float64(i) * 77.7, Totals: map[string]int64{"done": 123456, "retried": 789, "dead": 12}, Paused: i == 1,
		}, Rate: float64(i) * 321.4, Trend: trend(int64(i+1), "function-"+name), Pulses: []int64{1, 5, 3, 0, 9}}
		if i == 2 {
			q.Waiting.Exact = false
		}
		s.snapshot.Queues = append(s.snapshot.Queues, q)
		s.snapshot.Functions = append(s.snapshot.Functions, functionsOf(name, q.Trend)...)
		for k := range i + 1 {
			w := inspect.Worker{
				Name: fmt.Sprintf("host-%d-%d-7f3a", i, k), Queue: name, Alive: k != 1, Host: fmt.Sprintf("host-%d.example", i), PID: 4000 + k, Version: "v0.1.0",
				Started: now.Add(-time.Hour), Concurrency: 16, Functions: []string{"function-" + name, "ping"}, Queues: []string{name}, Pending: int64(k * 3), LeaseLeft: 7.3,
			}
			if k > 0 {
				w.Tasks = []inspect.Task{{ID: "01M842GNH5PAD9BP9VDYDARKF0", Function: "function-" + name, Since: now.Add(-75 * time.Second), Attempt: 2, Deliveries: 1}}
			}
			s.snapshot.Workers = append(s.snapshot.Workers, w)
		}
		s.snapshot.Groups = append(s.snapshot.Groups, Group{Queue: name, LetterGroup: inspect.LetterGroup{
			ID: fmt.Sprintf("6f1c2a9be04d771%d", i), Function: "function-" + name, Reason: "failed", N: int64(400 - i*90), First: now.Add(-26 * time.Hour), Last: now.Add(-75 * time.Second),
			Error: "Get \"https://example.org/very/long/path\": dial tcp 192.0.2.1:443: connect: connection refused, after the 5th attempt", Example: "1735689600000-0",
		}})
	}
	s.snapshot.Tasks = s.snapshot.Workers[2].Tasks
	return s
}

// begun is a model of a size that has looked once.
func begun(t *testing.T, source *stage, width, height int) *model {
	t.Helper()
	m := newModel(t.Context(), source, "127.0.0.1:6379  prefix wm", time.Second)
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	m.settle(m.Init())
	return m
}

// settle runs what a command begins until nothing but the next tick is left.
func (m *model) settle(cmd tea.Cmd) {
	for cmd != nil {
		message := make(chan tea.Msg, 1)
		go func() { message <- cmd() }()
		select {
		case got := <-message:
			_, cmd = m.Update(got)
			if _, looked := got.(seen); looked {
				return // the command is the tick
			}
		case <-time.After(10 * time.Second):
			return
		}
	}
}

// press presses keys and runs what they begin.
func press(m *model, names ...string) {
	special := map[string]rune{
		"enter": tea.KeyEnter, "tab": tea.KeyTab, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "backspace": tea.KeyBackspace,
		"end": tea.KeyEnd, "home": tea.KeyHome, "pgdown": tea.KeyPgDown,
	}
	for _, name := range names {
		key := tea.KeyPressMsg{Code: special[name]}
		if key.Code == 0 {
			key = tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
		}
		_, cmd := m.Update(key)
		m.settle(cmd)
	}
}

// screen is what the person reads.
func screen(m *model) string { return ansi.Strip(m.draw()) }

func wantSeen(t *testing.T, m *model, parts ...string) {
	t.Helper()
	text := screen(m)
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not on the screen:\n%s", part, text)
		}
	}
}

// walk is through every view and its details.
var walk = [][]string{{"down"}, {"enter"}, {"esc", "2"}, {"down", "down"}, {"enter"}, {"tab"}, {"enter"}, {"4"}, {"enter"}, {"1", "p"}, {"n", "/", "w"}, {"enter"}, {"z"}}

// TestEveryScreenFits holds that every view has as many lines as the window, each exactly as wide, at any size.
func TestEveryScreenFits(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{80, 24}, {120, 40}, {40, 10}, {61, 17}, {250, 70}, {80, 30}, {10, 3}} {
		m := begun(t, full(), size[0], size[1])
		for _, keys := range walk {
			press(m, keys...)
			lines := strings.Split(m.draw(), "\n")
			if len(lines) != size[1] && size[1] >= leastLines {
				t.Errorf("%v after %v: %d lines", size, keys, len(lines))
			}
			for _, line := range lines {
				if got := lipgloss.Width(line); got != size[0] {
					t.Errorf("%v after %v: %d columns: %q", size, keys, got, ansi.Strip(line))
				}
			}
		}
	}
}

func TestViews(t *testing.T) {
	t.Parallel()
	m := begun(t, full(), 120, 40)
	wantSeen(t, m, "173k waiting", "862 dead", "1928 done/s", "mail", "paused", "49.4k+", "111k", "Slowest functions", "function-web", "done a minute", "p pause/resume", "q quit")
	press(m, "2")
	wantSeen(t, m, "host-1-1-7f3a", "dead", "1m15s", "host-3.example:4002", "1 of 10")
	press(m, "down", "down", "enter")
	wantSeen(t, m, "dead: others take its tasks over", "01M842GNH5PAD9BP9VDYDARKF0", "16 at a time", "esc back")
	press(m, "3")
	wantSeen(t, m, "by slowest", "80ms", "131ms")
	if rows := m.functions(); rows[0].Name != "function-web" {
		t.Errorf("the slowest is %s", rows[0].Name)
	}
	press(m, "s", "s")
	wantSeen(t, m, "by busiest")
	if rows := m.functions(); rows[0].Name != "ping" || rows[0].Queue != "web" {
		t.Errorf("the busiest is %s", rows[0].Name)
	}
	press(m, "4", "enter")
	wantSeen(t, m, "connection refused, after the", "worker-machine dead replay --queue images --group 6f1c2a9be04d7710")
	press(m, "tab")
	wantSeen(t, m, "images", "QUEUE")
}

// TestLooksOnlyForWhatIsSeen holds what bounds the commands: workers and groups are read while somebody looks at them.
func TestLooksOnlyForWhatIsSeen(t *testing.T) {
	t.Parallel()
	s := full()
	m := begun(t, s, 80, 24)
	for _, key := range []string{"2", "3", "4", "1"} {
		press(m, key)
	}
	want := []Want{{}, {Workers: true}, {Queue: "images"}, {Groups: true}, {Queue: "images"}}
	if s.wants[2].Queue == "" || s.wants[2].Workers {
		t.Errorf("for functions it looked for %+v", s.wants[2])
	}
	s.wants[2] = want[2]
	if !slices.Equal(s.wants, want) {
		t.Errorf("it looked for %+v, want %+v", s.wants, want)
	}
}

// TestOneLookAtATime holds that keys do not ask a slow Redis more often, and that what they opened is looked at next.
func TestOneLookAtATime(t *testing.T) {
	t.Parallel()
	s := full()
	m := begun(t, s, 80, 24)
	_, first := m.Update(tick{m.round})
	for range 5 {
		if _, cmd := m.Update(tea.KeyPressMsg{Code: tea.KeyTab}); cmd != nil {
			t.Fatal("a second look began")
		}
	}
	_, second := m.Update(first())
	if m.settle(second); len(s.wants) != 3 || !s.wants[2].Workers {
		t.Errorf("it looked for %+v", s.wants)
	}
	if _, cmd := m.Update(tick{m.round - 1}); cmd != nil {
		t.Error("the tick of an earlier round began a look: there would be two for each second")
	}
}

func TestPauseAsks(t *testing.T) {
	t.Parallel()
	s := full()
	m := begun(t, s, 80, 24)
	press(m, "p")
	wantSeen(t, m, "pause queue images?", "any other key no")
	press(m, "enter")
	wantSeen(t, m, "nothing was done")
	press(m, "p", "y")
	wantSeen(t, m, "queue images is paused")
	press(m, "down", "p")
	wantSeen(t, m, "resume queue mail?")
	press(m, "y")
	press(m, "2", "p", "y")
	if want := []string{"pause images", "resume mail"}; !slices.Equal(s.done, want) {
		t.Errorf("did %q, want %q", s.done, want)
	}
	press(m, "1")
	s.err = errors.New("NOPERM no \x1b[31mright")
	press(m, "p", "y")
	wantSeen(t, m, `NOPERM no \x1b[31mright`)
}

func TestFilter(t *testing.T) {
	t.Parallel()
	m := begun(t, full(), 80, 24)
	press(m, "/", "q", "backspace", "R", "E", "P")
	wantSeen(t, m, "/REP", "reports-of", "esc clear")
	if len(m.queues()) != 1 {
		t.Errorf("%d queues", len(m.queues()))
	}
	press(m, "enter", "2")
	wantSeen(t, m, "1 of 3")
	press(m, "/", "x", "y")
	wantSeen(t, m, "nothing matches the filter")
	press(m, "esc")
	wantSeen(t, m, "1 of 10")
}

// TestSelectionStays holds that the selection is a queue and not a line.
func TestSelectionStays(t *testing.T) {
	t.Parallel()
	s := full()
	m := begun(t, s, 80, 24)
	press(m, "end")
	if m.queue().Name != "web" {
		t.Fatalf("the last is %s", m.queue().Name)
	}
	s.snapshot.Queues = append([]Queue{{Queue: inspect.Queue{Name: "a-new-one"}}}, s.snapshot.Queues...)
	m.settle(m.fetch())
	if m.queue().Name != "web" || m.cursor[queueView] != 4 {
		t.Errorf("now %s in line %d is selected", m.queue().Name, m.cursor[queueView])
	}
	s.snapshot.Queues = s.snapshot.Queues[:2]
	m.settle(m.fetch())
	if m.queue() == nil || m.queue().Name != "images" {
		t.Errorf("once it is gone %v is selected", m.queue())
	}
	press(m, "home", "up")
	if m.cursor[queueView] != 0 {
		t.Errorf("line %d is above the first", m.cursor[queueView])
	}
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	s := full()
	s.err = errors.New("dial tcp \x1b[31m: refused")
	m := begun(t, s, 80, 24)
	wantSeen(t, m, `Redis does not answer: dial tcp \x1b[31m: refused`)
	press(m, "down", "enter", "2", "p", "s", "esc")
	s.err = nil
	press(m, "1")
	m.settle(m.fetch())
	wantSeen(t, m, "images")
	s.err = errors.New("gone")
	m.settle(m.fetch())
	wantSeen(t, m, "images", "Redis does not answer since")
	s.err, s.snapshot = nil, Snapshot{}
	m.settle(m.fetch())
	for _, key := range []string{"1", "2", "3", "4"} {
		press(m, key, "enter", "down", "p")
		if text := screen(m); strings.Contains(text, "Redis does not answer") {
			t.Errorf("it still says so:\n%s", text)
		}
	}
}

// TestNothingToObey holds that text of strangers cannot steer the terminal.
func TestNothingToObey(t *testing.T) {
	t.Parallel()
	const evil = "e\x1b[31mv\x1b]0;t\ai\u009b1ml\u202eabc\n\x00"
	s := full()
	s.snapshot.Workers[0] = inspect.Worker{Name: evil, Queue: evil, Host: evil, Version: evil, Functions: []string{evil}, Queues: []string{evil}, Tasks: []inspect.Task{{ID: evil, Function: evil}}}
	s.snapshot.Tasks = []inspect.Task{{ID: evil, Function: evil}}
	s.snapshot.Functions[0] = Function{Queue: evil, Function: inspect.Function{Name: evil, Done: 1 << 40, Retried: 1 << 40, Dead: 1, Handler: inspect.Latency{N: 1, Mean: 1 << 20}}}
	s.snapshot.Groups[0] = Group{Queue: evil, LetterGroup: inspect.LetterGroup{ID: evil, Function: evil, Reason: evil, Error: evil, N: 1 << 40, Example: evil}}
	s.snapshot.Queues[0].Name, s.snapshot.Queues[0].Error = evil, evil
	m := begun(t, s, 120, 40)
	harmless := func(what, text string) {
		t.Helper()
		for _, r := range text {
			if unicode.IsControl(r) && r != '\n' || unicode.Is(unicode.Cf, r) {
				t.Fatalf("%s: %q is on the screen:\n%q", what, r, text)
			}
		}
	}
	for _, key := range []string{"1", "2", "3", "4"} {
		press(m, key)
		harmless("view "+key, screen(m))
		press(m, "enter")
		harmless("details "+key, screen(m))
		for _, line := range strings.Split(m.draw(), "\n") {
			if lipgloss.Width(line) != 120 {
				t.Errorf("a line is %d wide: %q", lipgloss.Width(line), line)
			}
		}
	}
	press(m, "1", "p")
	harmless("the question", screen(m))
	var b strings.Builder
	if err := s.snapshot.Print(&b); err != nil {
		t.Fatal(err)
	}
	harmless("the plain text", b.String())
	m.Update(tea.PasteMsg{Content: evil})
	press(m, "n", "/")
	m.Update(tea.PasteMsg{Content: evil})
	harmless("a filter", screen(m))
}

func TestPrint(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	s := full()
	if err := s.snapshot.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"172830 waiting", "paused", "function, slowest first", "host-1-1-7f3a", "connection refused", "15 minutes"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("%q is not in\n%s", part, &b)
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("plain text has colours")
	}
}
