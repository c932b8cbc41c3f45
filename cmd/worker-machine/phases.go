package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// phases draws a bar for the map tasks, and then one for the reduce tasks. A nil one draws nothing. It is for one goroutine at a time.
type phases struct {
	app   *app
	name  string
	total int
	drawn *progressbar.ProgressBar
}

// newPhases is nil where no bar is wanted.
func (a *app) newPhases(wanted string) *phases {
	if wanted == "never" || wanted == "auto" && !isTerminal(a.stderr) {
		return nil
	}
	return &phases{app: a}
}

// show draws how far a phase is; a total below 0 is not known.
func (p *phases) show(name string, done, total int) {
	if p == nil {
		return
	}
	if p.drawn == nil || p.name != name {
		p.finish()
		const width, often = 30, 100 * time.Millisecond
		p.name, p.total = name, total
		p.drawn = progressbar.NewOptions(max(total, -1),
			progressbar.OptionSetWriter(p.app.stderr), progressbar.OptionSetWidth(width), progressbar.OptionThrottle(often),
			progressbar.OptionSetDescription(name), progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("task"),
			progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(true), progressbar.OptionClearOnFinish(),
		)
	}
	if total != p.total && total > 0 {
		p.total = total
		p.drawn.ChangeMax(total)
	}
	if total < 0 || done < total { // reaching the end would finish it before the phase has ended
		_ = p.drawn.Set(done)
	}
}

// hide makes room for a line on stderr.
func (p *phases) hide() {
	if p != nil && p.drawn != nil {
		_ = p.drawn.Clear()
	}
}

// finish removes the bar.
func (p *phases) finish() {
	if p == nil || p.drawn == nil {
		return
	}
	_ = p.drawn.Finish()
	_ = p.drawn.Clear()
	p.drawn = nil
}
