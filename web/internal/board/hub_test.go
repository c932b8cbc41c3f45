package board

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athoune/worker-machine/web/internal/guard"
)

// counting is a hub whose pages change with each reading.
func counting(reads *atomic.Int64) *hub {
	return newHub(func(_ context.Context, page string, a args) ([]frame, bool, error) {
		n := reads.Add(1)
		return []frame{{ID: "same", HTML: page + a.Get("queue")}, {ID: "n", HTML: fmt.Sprint(n)}}, n >= 1000, nil
	})
}

func of(queue string) args { return args{Values: url.Values{"queue": {queue}}, role: guard.Admin} }

func TestAPageIsReadOnceForAllWhoLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		h := counting(&reads)
		var leave []func()
		left := make(chan struct{})
		for range 20 {
			f, end, err := h.join(t.Context(), "queue", of("q"))
			if err != nil {
				t.Fatal(err)
			}
			leave = append(leave, end)
			first := string(<-f.updates)
			if !strings.Contains(first, `"same"`) || !strings.HasPrefix(first, "event: fragments\ndata: [") || !strings.HasSuffix(first, "\n\n") {
				t.Errorf("the first update lacks a part: %q", first)
			}
			go func() {
				for {
					select {
					case <-left:
						return
					case update := <-f.updates:
						if strings.Contains(string(update), `"same"`) {
							t.Errorf("what has not changed was sent again: %s", update)
						}
					}
				}
			}()
		}
		time.Sleep(10*liveEvery + time.Millisecond) //nolint:forbidigo // the clock of synctest
		if n := reads.Load(); n != 11 {
			t.Errorf("20 browsers cost %d readings in 10 intervals, want 11", n)
		}
		for _, end := range leave {
			end()
		}
		close(left)
		synctest.Wait()
		was := reads.Load()
		time.Sleep(10 * liveEvery) //nolint:forbidigo // the clock of synctest
		if n := reads.Load() - was; n != 0 || h.n != 0 || len(h.topics) != 0 {
			t.Errorf("nobody looks, and there were %d readings; %d browsers and %d topics are left", n, h.n, len(h.topics))
		}
	})
}

func TestASlowBrowserIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		h := counting(&reads)
		slow, leaveSlow, err := h.join(t.Context(), "queue", of("q"))
		if err != nil {
			t.Fatal(err)
		}
		fast, leaveFast, err := h.join(t.Context(), "queue", of("q"))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 * liveAhead {
			<-fast.updates
		}
		n := 0
		for range slow.updates {
			n++
		}
		if n != liveAhead || slow.over {
			t.Errorf("the slow browser had %d updates before it was dropped, want %d; over: %v", n, liveAhead, slow.over)
		}
		leaveSlow()
		if _, ok := <-fast.updates; !ok {
			t.Error("the fast one was dropped too")
		}
		leaveFast()
		if h.n != 0 {
			t.Errorf("%d browsers are counted", h.n)
		}
	})
}

func TestBrowsersAndTopicsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		h := counting(&reads)
		var leave []func()
		join := func(queue string) error {
			_, end, err := h.join(t.Context(), "queue", of(queue))
			if err == nil {
				leave = append(leave, end)
			}
			return err
		}
		for i := range liveTopics {
			if err := join(fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		if join("one more") == nil {
			t.Error("there is no limit of topics")
		}
		for i := range liveBrowsers - liveTopics {
			if err := join(fmt.Sprint(i % liveTopics)); err != nil {
				t.Fatal(err)
			}
		}
		if join("0") == nil {
			t.Error("there is no limit of browsers")
		}
		for _, end := range leave {
			end()
		}
	})
}

// TestTheEndIsTold ends a page that cannot change any more, for those who look and not for those who were too slow.
func TestTheEndIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub(func(context.Context, string, args) ([]frame, bool, error) {
			return []frame{{ID: "a", HTML: "end"}}, true, nil
		})
		f, leave, err := h.join(t.Context(), "run", of("q"))
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
		n := 0
		for range f.updates {
			n++
		}
		if n != 1 || !f.over {
			t.Errorf("%d updates, over: %v; want 1 and the end", n, f.over)
		}
	})
}
