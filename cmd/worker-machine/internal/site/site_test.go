package site_test

import (
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/site"
)

func TestTitles(t *testing.T) {
	t.Parallel()
	const delay = 20 * time.Millisecond
	pages, err := site.Start(t.Context(), delay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pages.Close)
	failed := 0
	for _, url := range pages.URLs() {
		began := time.Now()
		title, err := site.Title(t.Context(), url)
		if took := time.Since(began); took < delay {
			t.Errorf("%s took %v, want %v or more", url, took, delay)
		}
		switch {
		case err != nil && strings.Contains(err.Error(), "500"):
			failed++
		case err != nil || title == "":
			t.Errorf("%s: %q, %v", url, title, err)
		}
	}
	if failed != site.Failing || len(pages.URLs()) != site.Pages {
		t.Errorf("%d of %d failed, want %d of %d", failed, len(pages.URLs()), site.Failing, site.Pages)
	}
	if _, err := site.Title(t.Context(), pages.URLs()[0]+"0000"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("no such page: %v", err)
	}
}
