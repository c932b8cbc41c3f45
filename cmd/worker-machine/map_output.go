package main

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/mapreduce"
)

const shownInput = 200 // characters of an input in the message of its failure

// printer writes the results of a batch.
type printer struct {
	app    *app
	flags  *mapFlags
	bar    *bar
	course *course
}

// mappedResult is the record of --json.
type mappedResult struct {
	Index       int     `json:"index"`
	Input       *string `json:"input,omitempty"`
	InputBase64 string  `json:"input_base64,omitempty"`
	content
	Failure *failure `json:"error,omitempty"`
}

func (p printer) print(r mapreduce.Result[[]byte, []byte]) error {
	p.bar.hide(r.Err != nil)
	if p.app.json {
		return p.printJSON(r)
	}
	if failure := r.Err; failure != nil {
		_, err := fmt.Fprintf(p.app.stderr, "failed: %s: %v\n", plain.Short(string(r.Input), shownInput), advise(taskText(failure)))
		return err
	}
	_, err := p.app.stdout.Write(p.line(r))
	return err
}

// line is a result as it is written.
func (p printer) line(r mapreduce.Result[[]byte, []byte]) []byte {
	var line []byte
	if p.flags.withInput {
		line = append(append(line, r.Input...), '\t')
	}
	if p.flags.null {
		return append(append(line, r.Value...), 0)
	}
	line = append(line, bytes.TrimRight(r.Value, "\r\n")...)
	if isTerminal(p.app.stdout) {
		line = []byte(plain.Text(string(line)))
	}
	return append(line, '\n')
}

func (p printer) printJSON(r mapreduce.Result[[]byte, []byte]) error {
	record := mappedResult{Index: p.course.index(r)}
	record.Input, record.InputBase64 = textOrBase64(r.Input)
	if r.Err != nil {
		record.Failure = failureOf(r.Err)
	} else {
		record.content = contentOf(r.Value)
	}
	return p.app.printJSON(record)
}

// bar draws the progress of a batch. A nil one draws nothing.
type bar struct {
	drawn  *progressbar.ProgressBar
	inputs *inputs
	shared bool // results go to the same terminal
	known  bool // how many inputs there are
}

func (a *app) newBar(f *mapFlags, in *inputs) *bar {
	if f.progress == "never" || f.progress == "auto" && !isTerminal(a.stderr) {
		return nil
	}
	const often = 100 * time.Millisecond
	return newBar(a.stderr, in, isTerminal(a.stdout), often)
}

func newBar(to io.Writer, in *inputs, shared bool, often time.Duration) *bar {
	const width = 30
	drawn := progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(to), progressbar.OptionSetWidth(width), progressbar.OptionThrottle(often),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("task"),
		progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(true), progressbar.OptionClearOnFinish(),
	)
	return &bar{drawn: drawn, inputs: in, shared: shared}
}

// show draws how far the batch is, with those that were done before; errors of a terminal that is gone are not worth an end.
func (b *bar) show(p mapreduce.Progress, before int) {
	if b == nil {
		return
	}
	over := before + p.Done + p.Failed
	if total := b.inputs.total.Load(); !b.known && total > 0 {
		b.known = true
		b.drawn.ChangeMax64(max(total, int64(over)))
	}
	if !b.known || over < int(b.drawn.GetMax64()) { // reaching the end would finish it before the batch has ended
		_ = b.drawn.Set(over)
	}
}

// hide makes room for a line on the same terminal, be it one of stderr or of a stdout that is shared; a later show draws again.
func (b *bar) hide(onStderr bool) {
	if b != nil && (onStderr || b.shared) {
		_ = b.drawn.Clear()
	}
}

// finish removes the bar.
func (b *bar) finish() {
	if b != nil {
		_ = b.drawn.Finish()
		_ = b.drawn.Clear()
	}
}
