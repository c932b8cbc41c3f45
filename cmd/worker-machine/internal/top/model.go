package top

import (
	"context"
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

// Source is where a model gets what it shows; a [Watcher] is one.
type Source interface {
	Look(ctx context.Context, want Want) (*Snapshot, error)
	Pause(ctx context.Context, queue string) error
	Resume(ctx context.Context, queue string) error
}

// view is one of the four lists.
type view int

const (
	queueView view = iota
	workerView
	functionView
	deadView
	views // how many there are
)

const lookPatience = 5 * time.Second

// model is the state of the program: what was seen last, and where the person is.
type model struct {
	ctx    context.Context
	source Source
	where  string // the Redis, for the first line
	every  time.Duration
	look   *looks

	width, height int
	snapshot      *Snapshot // nil before the first
	problem       error     // of the last look
	since         time.Time // of the problem

	view    view
	cursor  [views]int
	keys    [views]string // of the selected rows, so that the selection stays with them
	detail  bool
	order   order
	filter  string
	typing  bool   // the filter
	ask     string // the queue that is to be paused or resumed
	told    string // what an action ended with
	scroll  int    // of the details
	looking bool
	stale   bool // what is on its way is not what the screen shows now
	round   int  // of looks: a tick of an earlier one is void
}

func newModel(ctx context.Context, source Source, where string, every time.Duration) *model {
	return &model{ctx: ctx, source: source, where: where, every: every, look: newLooks(), width: 80, height: 24}
}

// seen is a look that came back.
type seen struct {
	snapshot *Snapshot
	err      error
}

// tick is the time for the next look.
type tick struct{ round int }

// acted is an action that came back.
type acted struct {
	text string
	err  error
}

// Init takes the first look.
func (m *model) Init() tea.Cmd { return m.fetch() }

// fetch looks, as far as anybody sees it. There is one look at a time: a Redis that is slow is not asked the more often for it.
func (m *model) fetch() tea.Cmd {
	if m.looking {
		m.stale = true
		return nil
	}
	m.looking = true
	want := m.want()
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, lookPatience)
		defer cancel()
		snapshot, err := m.source.Look(ctx, want)
		return seen{snapshot, err}
	}
}

// want is what the screen shows.
func (m *model) want() Want {
	want := Want{Workers: m.view == workerView || m.detail && m.view == queueView, Groups: m.view == deadView}
	if m.snapshot == nil {
		return want
	}
	if q := m.queue(); q != nil {
		want.Queue = q.Name
	}
	if w := m.worker(); w != nil && m.detail {
		want.Queue, want.Worker = w.Queue, w.Name
	}
	if f := m.function(); f != nil {
		want.Queue = f.Queue
	}
	return want
}

// Update takes note of a message.
func (m *model) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = message.Width, message.Height
	case tick:
		if message.round == m.round {
			return m, m.fetch()
		}
	case seen:
		return m, m.see(message)
	case acted:
		m.told = message.text
		if message.err != nil {
			m.told = "not done: " + plain.Line(message.err.Error())
		}
		return m, m.fetch()
	case tea.PasteMsg:
		if m.typing {
			m.filter += plain.Line(message.Content)
		}
	case tea.KeyPressMsg:
		return m, m.press(message)
	}
	return m, nil
}

// see keeps a snapshot. After an error the one before stays on the screen, with a line that says so.
func (m *model) see(s seen) tea.Cmd {
	m.looking = false
	switch {
	case s.err == nil:
		m.problem, m.snapshot = nil, s.snapshot
		m.follow()
	case m.problem == nil:
		m.problem, m.since = s.err, time.Now()
	default:
		m.problem = s.err
	}
	if m.stale {
		m.stale = false
		return m.fetch()
	}
	m.round++
	round := m.round
	return tea.Tick(m.every, func(time.Time) tea.Msg { return tick{round} })
}

// follow keeps the selection on its row, wherever that is now.
func (m *model) follow() {
	rows := m.rowKeys()
	for i, key := range rows {
		if key == m.keys[m.view] {
			m.cursor[m.view] = i
		}
	}
	m.move(0)
}

// move moves the selection.
func (m *model) move(by int) {
	rows := m.rowKeys()
	at := max(min(m.cursor[m.view]+by, len(rows)-1), 0)
	m.cursor[m.view] = at
	m.keys[m.view] = ""
	if at < len(rows) {
		m.keys[m.view] = rows[at]
	}
}

// act pauses or resumes the queue that was asked for.
func (m *model) act(queue string) tea.Cmd {
	paused := false
	for i := range m.snapshot.Queues {
		paused = paused || m.snapshot.Queues[i].Name == queue && m.snapshot.Queues[i].Paused
	}
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, lookPatience)
		defer cancel()
		if paused {
			return acted{fmt.Sprintf("queue %s is open", queue), m.source.Resume(ctx, queue)}
		}
		return acted{fmt.Sprintf("queue %s is paused", queue), m.source.Pause(ctx, queue)}
	}
}
