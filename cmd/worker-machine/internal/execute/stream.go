package execute

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

const streamBuffer = 64 << 10

// LineError says that a program wrote a line that is longer than it may be.
type LineError struct{ Limit int }

// Error names the limit.
func (e *LineError) Error() string {
	return fmt.Sprintf("a line of its output is longer than %s", plain.Bytes(int64(e.Limit)))
}

// Stream runs the program on an input that is written as it is read, and hands each line of its output to line, without its newline;
// the slice is good until line returns. Nothing is held in memory but one line, up to Config.MaxOutput bytes of it.
//
// feed and line are called by goroutines of their own, side by side, and have returned when Stream does. An error of theirs kills the
// program and is what Stream returns. A program that stops reading makes the writes of feed fail, and feed should return
// then: that alone is no error. Otherwise it is like Run.
func (p *Program) Stream(ctx context.Context, meta Meta, feed func(io.Writer) error, line func([]byte) error) error {
	var feedErr, lineErr error
	err := p.flow(ctx, meta, func(w io.Writer) error {
		b := bufio.NewWriterSize(w, streamBuffer)
		err := feed(b)
		if err == nil {
			return b.Flush()
		}
		if !errors.Is(err, errUnread) {
			feedErr = err
		}
		return err
	}, func(r io.Reader) error {
		return eachLine(r, p.maxOutput, func(text []byte) error {
			lineErr = line(text)
			return lineErr
		})
	})
	if err != nil && ctx.Err() == nil {
		return cmp.Or(feedErr, lineErr, err)
	}
	return err
}

// eachLine calls line for each line of r; the last one need not end with a newline.
func eachLine(r io.Reader, limit int, line func([]byte) error) error {
	lines := bufio.NewReaderSize(r, streamBuffer)
	var long []byte // the beginning of a line that is longer than the buffer
	for {
		part, err := lines.ReadSlice('\n')
		if err == nil {
			part = part[:len(part)-1]
		}
		if len(long)+len(part) > limit {
			return &LineError{Limit: limit}
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
			continue
		case err != nil && len(long)+len(part) == 0: // the end, or what is as good
			return nil
		case len(long) > 0:
			long = append(long, part...)
			part = long
		}
		if lineErr := line(part); lineErr != nil || err != nil {
			return lineErr
		}
		long = long[:0]
	}
}
