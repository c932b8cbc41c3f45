package main

import "time"

// counter shows how far something is on a terminal, in place.
type counter struct {
	app   *app
	verb  string
	total int64
	on    bool
	drawn bool
	next  time.Time
}

const counterEvery = 100 * time.Millisecond

func (a *app) newCounter(verb string, total int64) *counter {
	return &counter{app: a, verb: verb, total: total, on: isTerminal(a.stderr) && !a.json}
}

// show draws the number.
func (c *counter) show(n int) {
	if now := time.Now(); !now.Before(c.next) {
		c.next = now.Add(counterEvery)
		c.line("%s %d of %d", c.verb, n, c.total)
	}
}

// line draws a line in place of the one before.
func (c *counter) line(format string, args ...any) {
	if c.on {
		c.drawn = true
		c.app.draw("\r"+format+"\x1b[K", args...)
	}
}

// finish removes what was drawn.
func (c *counter) finish() {
	if c.drawn {
		c.app.draw("\r\x1b[K")
	}
}
