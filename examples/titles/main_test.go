package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/athoune/worker-machine/internal/redistest"
)

// TestTitles fetches ten pages of a server that answers once as many requests are there as there are workers: one worker never has two
// under way, four have four.
func TestTitles(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			under, most := 0, 0
			together := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				if under++; under > most {
					if most = under; most == workers {
						close(together)
					}
				}
				mu.Unlock()
				select {
				case <-together:
				case <-r.Context().Done():
				}
				mu.Lock()
				under--
				mu.Unlock()
				fmt.Fprintf(w, "<html><TITLE>\n page %s &amp; more</TITLE>", r.URL.Path[1:])
			}))
			defer server.Close()
			var urls []string
			var want strings.Builder
			for i := range 10 {
				url := fmt.Sprintf("%s/%d", server.URL, i)
				urls = append(urls, url)
				fmt.Fprintf(&want, "%s page %d & more <nil>\n", url, i)
			}
			var out bytes.Buffer
			if err := run(t.Context(), redistest.StartTCP(t).Addr, workers, urls, &out); err != nil || out.String() != want.String() {
				t.Errorf("got %v\n%s\nwant\n%s", err, out.String(), want.String())
			}
			if most != workers {
				t.Errorf("%d requests at a time, want %d", most, workers)
			}
		})
	}
}
