package fleet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

// Event is something the fleet did, or saw.
type Event struct {
	Time time.Time `json:"time"`
	Kind string    `json:"event"`
	Slot int       `json:"slot,omitempty"`
	PID  int       `json:"pid,omitempty"`
	Text string    `json:"text"`
}

// Printer writes the lines of processes and the events of their fleet, each as a whole. It holds back processes when nobody reads
// what they say; the fleet itself never waits for a reader.
type Printer struct {
	out, err printTo
	json     bool

	lines   chan printed
	dropped atomic.Int64 // events
	quit    chan struct{}
	once    sync.Once
	done    chan struct{}
}

// printTo is one stream of the printer.
type printTo struct {
	to     io.Writer
	colour bool
}

type printed struct {
	stream printTo
	text   []byte
}

const (
	printBacklog  = 1000
	printPatience = 2 * time.Second // for a reader at the end
)

// NewPrinter makes a printer, which runs until Close. Lines of standard output go to stdout; all others, and events, to stderr.
func NewPrinter(stdout, stderr io.Writer, asJSON bool, colour func(io.Writer) bool) *Printer {
	p := &Printer{
		out: printTo{stdout, !asJSON && colour(stdout)}, err: printTo{stderr, !asJSON && colour(stderr)}, json: asJSON,
		lines: make(chan printed, printBacklog), quit: make(chan struct{}), done: make(chan struct{}),
	}
	go p.run()
	return p
}

func (p *Printer) run() {
	defer close(p.done)
	for {
		select {
		case line := <-p.lines:
			p.write(line)
		case <-p.quit:
			p.rest()
			return
		}
	}
}

// rest writes what is left.
func (p *Printer) rest() {
	for {
		select {
		case line := <-p.lines:
			p.write(line)
		default:
			return
		}
	}
}

func (p *Printer) write(line printed) { _, _ = line.stream.to.Write(line.text) } // to whom should it be told?

// Close writes what is left, if somebody reads it, and ends the printer. Lines that come later are dropped.
func (p *Printer) Close() {
	if n := p.dropped.Load(); n > 0 {
		p.Tell(Event{Kind: "dropped", Text: fmt.Sprintf("%d events were not written: nobody read them in time", n), Time: time.Now()})
	}
	p.once.Do(func() { close(p.quit) })
	late := time.NewTimer(printPatience)
	defer late.Stop()
	select {
	case <-p.done:
	case <-late.C:
	}
}

// Tell writes an event.
func (p *Printer) Tell(e Event) {
	if p == nil {
		return
	}
	select {
	case p.lines <- printed{p.err, p.eventText(e)}:
	default:
		p.dropped.Add(1)
	}
}

func (p *Printer) eventText(e Event) []byte {
	if p.json {
		return jsonLine(e)
	}
	who := ""
	switch {
	case e.Slot > 0 && e.PID > 0:
		who = fmt.Sprintf("%d (pid %d) ", e.Slot, e.PID)
	case e.Slot > 0:
		who = strconv.Itoa(e.Slot) + " "
	}
	return []byte(paint(p.err.colour, 0, "supervise | ") + plain.Text(who+e.Text) + "\n")
}

// source is where a line comes from.
type source struct {
	name      string
	slot, pid int
	width     int // of the name
	stderr    bool
}

// line writes a line of a process.
func (p *Printer) line(from source, text string) {
	if p == nil {
		return
	}
	stream := p.out
	if from.stderr {
		stream = p.err
	}
	select {
	case p.lines <- printed{stream, p.lineText(stream, from, text)}:
	case <-p.quit:
	}
}

func (p *Printer) lineText(stream printTo, from source, text string) []byte {
	if !p.json {
		prefix := fmt.Sprintf("%s/%-*d | ", from.name, from.width, from.slot)
		return []byte(paint(stream.colour, from.slot, prefix) + text + "\n")
	}
	line := struct {
		Time   time.Time       `json:"time"`
		Worker string          `json:"worker"`
		Slot   int             `json:"slot"`
		PID    int             `json:"pid"`
		Stream string          `json:"stream"`
		Line   string          `json:"line,omitempty"`
		Log    json.RawMessage `json:"log,omitempty"` // a line that is JSON itself
	}{Time: time.Now(), Worker: from.name + "/" + strconv.Itoa(from.slot), Slot: from.slot, PID: from.pid, Stream: "stdout"}
	if from.stderr {
		line.Stream = "stderr"
	}
	if text = cmp.Or(text, " "); text[0] == '{' && json.Valid([]byte(text)) {
		line.Log = json.RawMessage(text)
	} else {
		line.Line = text
	}
	return jsonLine(line)
}

func jsonLine(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		text = []byte(strconv.Quote(err.Error()))
	}
	return append(text, '\n')
}

// paint gives each slot a colour of its own, and the supervisor none but bold.
func paint(colour bool, slot int, text string) string {
	if !colour {
		return text
	}
	colours := []string{"36", "32", "33", "35", "34", "31", "96", "92", "93", "95"}
	code := "1"
	if slot > 0 {
		code = colours[(slot-1)%len(colours)]
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
