package workermachine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/wire"
)

// TestProtocolIsGenerated holds the tables of PROTOCOL.md to the source. UPDATE_GOLDEN=1 writes them anew (make golden).
func TestProtocolIsGenerated(t *testing.T) {
	t.Parallel()
	page := readFile(t, "PROTOCOL.md")
	want := replaceSection(t, page, "keys", keyTable(t))
	want = replaceSection(t, want, "scripts", scriptSections(t))
	if page == want {
		return
	}
	if os.Getenv("UPDATE_GOLDEN") == "" {
		t.Fatal("PROTOCOL.md differs from internal/wire/keys.go or internal/script/lua: if the change is meant, run make golden, and think of the rules of versioning there")
	}
	if err := os.WriteFile("PROTOCOL.md", []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replaceSection puts text between the two marks of a generated section.
func replaceSection(t *testing.T, page, name, text string) string {
	t.Helper()
	begin, end := "<!-- "+name+": generated -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok := strings.Cut(page, begin)
	_, after, found := strings.Cut(rest, end)
	if !ok || !found {
		t.Fatalf("PROTOCOL.md has no section between %q and %q", begin, end)
	}
	return before + begin + text + end + after
}

// keyTable is the table in the comment of wire.Keys.
func keyTable(t *testing.T) string {
	t.Helper()
	comment := regexp.MustCompile(`(?s)// Keys names.*?type Keys`).FindString(readFile(t, "internal/wire/keys.go"))
	rows := regexp.MustCompile(`(?m)^//\t(\S+) +(\w+) +(.*)$`).FindAllStringSubmatch(comment, -1)
	if len(rows) == 0 {
		t.Fatal("internal/wire/keys.go: no table in the comment of Keys")
	}
	var b strings.Builder
	b.WriteString("\n| key | type | holds |\n| --- | --- | --- |\n")
	for _, row := range rows {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", row[1], row[2], row[3])
	}
	b.WriteString("\n")
	return b.String()
}

// scriptSections is the header of every script, as it is in the file.
func scriptSections(t *testing.T) string {
	t.Helper()
	paths, err := filepath.Glob("internal/script/lua/*.lua")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var b strings.Builder
	b.WriteString("\n")
	for _, path := range paths {
		first, rest, _ := strings.Cut(readFile(t, path), "\n")
		full := "no: a full Redis refuses it"
		if strings.Contains(first, "allow-oom") || strings.Contains(first, "no-writes") {
			full = "yes"
		}
		fmt.Fprintf(&b, "### %s\n\nRuns when Redis is at its memory limit: %s.\n\n```text\n", strings.TrimSuffix(filepath.Base(path), ".lua"), full)
		for line := range strings.Lines(rest) {
			text, ok := strings.CutPrefix(line, "-- ")
			if !ok {
				break
			}
			b.WriteString(text)
		}
		b.WriteString("```\n\n")
	}
	return b.String()
}

// TestProtocolKnowsAllCounters holds the table of totals to what scripts and workers count.
func TestProtocolKnowsAllCounters(t *testing.T) {
	t.Parallel()
	page := readFile(t, "PROTOCOL.md")
	counters := map[string]string{}
	collect := func(pattern, expression string) {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(readFile(t, path), -1) {
				for _, name := range match[1:] {
					counters[name] = path
				}
			}
		}
	}
	collect("internal/script/lua/*.lua", `'HINCRBY', KEYS\[\d\], '([a-z ]+)'`)
	collect("internal/script/lua/*.lua", `'HINCRBY', KEYS\[\d\], mode == '\w+' and '([a-z ]+)' or '([a-z ]+)'`)
	collect("group/*.go", `(?:counter|Counter): +"([a-z ]+)"`)
	if len(counters) < 10 {
		t.Fatalf("found only %v", counters)
	}
	for name, path := range counters {
		if !strings.Contains(page, "| `"+name+"` |") {
			t.Errorf("%s counts %q, which is in no table of PROTOCOL.md", path, name)
		}
	}
}

// TestProtocolTellsTheTruthAboutTasks decodes the examples of PROTOCOL.md, and holds its words to the constants.
func TestProtocolTellsTheTruthAboutTasks(t *testing.T) {
	t.Parallel()
	page := readFile(t, "PROTOCOL.md")
	headers := blocks(page, "header")
	if len(headers) == 0 {
		t.Fatal("PROTOCOL.md has no block of headers")
	}
	for line := range strings.Lines(strings.Join(headers, "")) {
		header := strings.TrimSuffix(line, "\n")
		task, err := wire.DecodeValue([]byte(header + "\npayload"))
		if err != nil {
			t.Errorf("%s: %v", header, err)
		} else if again := task.Header(); again != header {
			t.Errorf("got %s, want %s", again, header)
		}
	}
	for line := range strings.Lines(strings.Join(blocks(page, "outcome"), "")) {
		id, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if _, err := wire.DecodeOutcome(id, text); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	for _, reason := range []string{
		wire.ReasonFailed, wire.ReasonDropped, wire.ReasonUnknown, wire.ReasonMalformed, wire.ReasonNewer, wire.ReasonCrash,
		wire.ReasonCancelled, wire.ReasonTooLarge,
	} {
		if !strings.Contains(page, "| `"+reason+"` |") {
			t.Errorf("the reason %q is in no table of PROTOCOL.md", reason)
		}
	}
}
