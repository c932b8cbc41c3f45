package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/stream"
)

// queue is the one that all tests use, each on a server or under a prefix of its own.
const queue = "work"

// The functions of the worker processes.
var (
	getTitle = stream.Func[string, string]{Name: "getTitle", Queue: queue, MaxAttempts: 1}
	square   = stream.Func[int, int]{Name: "square", Queue: queue}
	lines    = stream.Func[string, int]{Name: "lines", Queue: queue}       // of the file of that name
	nap      = stream.Func[time.Duration, bool]{Name: "nap", Queue: queue} // takes that long
	hold     = stream.Func[int, int]{Name: "hold", Queue: queue}           // until the gate is open, or its context ends
	deaf     = stream.Func[int, int]{Name: "deaf", Queue: queue}           // until the gate is open, whatever its context says
	mixed    = stream.Func[int, int]{Name: "mixed", Queue: queue}          // see doMixed
	bytesIn  = stream.Func[[]byte, []byte]{Name: "bytesIn", Queue: queue, Codec: stream.Raw}
)

// handleAll registers all functions; what they do is reported as events.
func handleAll(w *group.Worker, gate <-chan struct{}, report func(format string, args ...any)) {
	group.Handle(w, getTitle, fetchTitle)
	group.Handle(w, square, func(ctx context.Context, n int) (int, error) {
		report("start %s %d %d", group.Meta(ctx).ID, group.Meta(ctx).Attempt, n)
		return n * n, nil
	})
	group.Handle(w, lines, func(_ context.Context, path string) (int, error) { return countLines(path) })
	group.Handle(w, nap, func(ctx context.Context, d time.Duration) (bool, error) { return true, pauseFor(ctx, d) })
	group.Handle(w, mixed, doMixed)
	group.Handle(w, scramble, func(_ context.Context, n uint64) (uint64, error) { return scrambled(n), nil })
	group.Handle(w, bytesIn, func(context.Context, []byte) ([]byte, error) { return nil, nil })
	group.Handle(w, hold, func(ctx context.Context, n int) (int, error) {
		report("start %s %d %d", group.Meta(ctx).ID, group.Meta(ctx).Attempt, n)
		select {
		case <-gate:
			return n, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	})
	group.Handle(w, deaf, func(ctx context.Context, n int) (int, error) {
		report("start %s %d %d", group.Meta(ctx).ID, group.Meta(ctx).Attempt, n)
		<-gate
		report("end %s %d %d", group.Meta(ctx).ID, group.Meta(ctx).Attempt, n)
		return n, nil
	})
}

// How doMixed ends: a few numbers are dropped, some fail the first time, some take a while.
const (
	mixedDrop  = 101
	mixedRetry = 53
	mixedSlow  = 499
)

var errMixed = errors.New("this number is dropped")

func doMixed(ctx context.Context, n int) (int, error) {
	switch {
	case n%mixedDrop == 3:
		return 0, group.Drop(errMixed)
	case n%mixedRetry == 5 && group.Meta(ctx).Attempt == 1:
		return 0, errors.New("the first attempt fails")
	case n%mixedSlow == 7:
		return n * n, pauseFor(ctx, 100*time.Millisecond)
	default:
		return n * n, nil
	}
}

var titleTag = regexp.MustCompile(`(?is)<title>(.*?)</title>`)

func fetchTitle(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", group.Drop(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s", url, response.Status)
	}
	page, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", err
	}
	title := titleTag.FindSubmatch(page)
	if title == nil {
		return "", errors.New("the page has no title")
	}
	return string(bytes.TrimSpace(title[1])), nil
}

// countLines counts line ends, as wc -l does.
func countLines(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return bytes.Count(data, []byte("\n")), nil
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
