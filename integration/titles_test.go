package integration

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// TestTitlesOfTenSites is what Worker Machine is for: ten sites, several workers, titles as they come, an error among them.
func TestTitlesOfTenSites(t *testing.T) {
	t.Parallel()
	beside(t)
	b := startBackend(t)
	client := openClient(t, b.store, stream.ClientConfig{})
	const sites, broken, delay = 10, 7, 50 * time.Millisecond
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if pauseFor(r.Context(), delay) != nil {
			return
		}
		number := strings.TrimPrefix(r.URL.Path, "/")
		if number == fmt.Sprint(broken) {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "<html><title>Page %s</title></html>", number)
	}))
	t.Cleanup(site.Close)

	c := newCrew(t, b)
	for _, n := range []int{1, 4} {
		workers := c.workers(n, func(s *spec) { s.Concurrency = 1 })
		began, titles := time.Now(), map[string]bool{}
		urls := func(yield func(string) bool) {
			for i := range sites {
				if !yield(fmt.Sprintf("%s/%d", site.URL, i)) {
					return
				}
			}
		}
		batch := mapreduce.Map(t.Context(), client, getTitle, urls)
		for r := range batch.Results() {
			var failure *stream.TaskError
			switch {
			case r.Index != broken && r.Err == nil && r.Value == fmt.Sprint("Page ", r.Index):
				titles[r.Value] = true
			case r.Index == broken && errors.As(r.Err, &failure) && failure.Reason == wire.ReasonFailed &&
				strings.Contains(failure.Message, "answered 500"):
			default:
				t.Errorf("site %d: got %q, %v", r.Index, r.Value, r.Err)
			}
		}
		if err := batch.Err(); err != nil || len(titles) != sites-1 {
			t.Fatalf("%d workers: got %d titles, %v, want %d", n, len(titles), err, sites-1)
		}
		t.Logf("%d workers: %v (with their start; ideal %v)", n, time.Since(began), time.Duration((sites+n-1)/n)*delay)
		for _, w := range workers {
			if err := w.terminate(); err != nil {
				t.Errorf("a worker ended with %v", err)
			}
		}
	}
	// What is left of it all: the ten dead letters are two, and nobody is in the group any more.
	consumers, err := b.client.XInfoConsumers(t.Context(), b.store.Keys(queue).Tasks(), b.store.Group()).Result()
	must(t, err)
	if dead := b.client.XLen(t.Context(), b.store.Keys(queue).Dead()).Val(); dead != 2 || len(consumers) != 0 {
		t.Errorf("left: %d dead letters, consumers %v; want 2 and none", dead, consumers)
	}
}
