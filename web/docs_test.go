package web_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/web"
)

// TestCommandsOfTheGuide runs what docs/http.md shows, and compares the output, but for IDs.
func TestCommandsOfTheGuide(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("this test needs curl: apt-get install curl")
	}
	s := newSite(t, web.Config{})
	s.work("q")
	id := regexp.MustCompile(`01[0-9A-HJKMNP-TV-Z]{24}`)
	ran := 0
	for _, block := range regexp.MustCompile("(?ms)^```console\n(.*?)^```").FindAllStringSubmatch(string(page), -1) {
		for _, step := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(step, "\n")
			output, err := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(command, "http://localhost:8080", s.url)).CombinedOutput() //nolint:gosec // from our page
			got := strings.TrimSpace(id.ReplaceAllString(string(output), "ID"))
			if err != nil || got != strings.TrimSpace(want) {
				t.Errorf("%s\nprinted %s (%v)\nand the page says %s", command, got, err, want)
			}
			ran++
		}
	}
	if ran < 8 {
		t.Errorf("only %d commands were found", ran)
	}
}
