package script

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	headerKeys = regexp.MustCompile(`(?m)^-- KEYS (.*)$`)
	headerArgv = regexp.MustCompile(`(?m)^-- ARGV .+$`)
	headerBack = regexp.MustCompile(`(?m)^-- returns .+$`)
	keyIndex   = regexp.MustCompile(`KEYS\[(\d+)\]`)
	argIndex   = regexp.MustCompile(`ARGV\[(\d+)\]`)
	calls      = regexp.MustCompile(`\b(?:redis\.p?)?call\(([^,)]+)(?:, *([^,)]+))?`)
	loads      = regexp.MustCompile(`(?m)= load\("(\w+)"\)$`)
	notes      = regexp.MustCompile(`\([^)]*\)`)
)

// keyed are the commands whose second argument names what they do, and whose third is the key.
var keyed = map[string]bool{"XINFO": true, "XGROUP": true}

// TestHeadersOfScriptsSayWhatTheyDo reads every Lua file: a header that lies is worse than none.
func TestHeadersOfScriptsSayWhatTheyDo(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(files, "lua/*.lua")
	if err != nil || len(names) < 15 {
		t.Fatalf("found %d scripts, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := files.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			text := string(data)
			lines := strings.Split(text, "\n")
			verb := strings.TrimSuffix(strings.TrimPrefix(name, "lua/"), ".lua")
			if lines[0] != "#!lua" && !strings.HasPrefix(lines[0], "#!lua flags=") {
				t.Errorf("first line %q: want #!lua and flags", lines[0])
			}
			if !strings.HasPrefix(lines[1], "-- "+verb+" ") || !strings.HasSuffix(lines[1], ".") {
				t.Errorf("second line %q: want a sentence that starts with %q", lines[1], verb)
			}
			if !headerArgv.MatchString(text) || !headerBack.MatchString(text) {
				t.Error("the header lacks ARGV or returns")
			}
			documented := headerKeys.FindStringSubmatch(text)
			if documented == nil {
				t.Fatal("the header lacks KEYS")
			}
			checkKeys(t, text, documented[1])
			checkCalls(t, text)
		})
	}
}

// checkKeys compares the keys that are used with those documented: "a b [c]" is two, and a third where there is one.
func checkKeys(t *testing.T, text, documented string) {
	t.Helper()
	names := strings.Fields(notes.ReplaceAllString(documented, ""))
	used := 0
	for _, m := range keyIndex.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		used = max(used, n)
	}
	optional := strings.Count(documented, "[")
	open := strings.Contains(documented, "...")
	if used > len(names) || !open && used < len(names)-optional {
		t.Errorf("uses KEYS up to %d, documents %q", used, names)
	}
	if strings.Contains(text, "ARGV[0]") || len(argIndex.FindAllString(text, -1)) == 0 && !strings.Contains(text, "#ARGV") {
		t.Error("uses no ARGV, or ARGV[0]")
	}
}

// checkCalls holds that no script names a key by itself: each comes from KEYS, or starts with a prefix of the same queue from ARGV.
func checkCalls(t *testing.T, text string) {
	t.Helper()
	for _, m := range calls.FindAllStringSubmatch(text, -1) {
		command, first := strings.Trim(m[1], "'"), m[2]
		if command == m[1] {
			t.Errorf("%s: the command is not a literal", m[0])
		}
		if command == "TIME" || command == "PUBLISH" && strings.HasPrefix(first, "KEYS[") {
			continue
		}
		if keyed[command] {
			if !strings.HasPrefix(first, "'") {
				t.Errorf("%s: want a literal subcommand", m[0])
			}
			continue
		}
		if !strings.HasPrefix(first, "KEYS[") && !strings.HasPrefix(first, "ARGV[") && first != "key" {
			t.Errorf("%s: the key is neither from KEYS nor from a prefix in ARGV", m[0])
		}
	}
	if n := strings.Count(text, "'TIME'"); n > 1 {
		t.Errorf("reads the time %d times: it goes on inside a script", n)
	}
	for i, line := range strings.Split(text, "\n") {
		if strings.Contains(line, "'wm") || strings.Contains(line, "{") && strings.Contains(line, "}:") {
			t.Errorf("line %d names a key: %s", i+1, line)
		}
	}
}

func TestEachScriptIsLoaded(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(files, "lua/*.lua")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var loaded []*lua
	for _, name := range sources {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range loads.FindAllStringSubmatch(string(text), -1) {
			loaded = append(loaded, load(m[1]))
		}
	}
	if len(loaded) != len(names) {
		t.Errorf("%d files, %d of them loaded", len(names), len(loaded))
	}
	for _, s := range loaded {
		if strings.HasPrefix(s.plain.text, "#!") || !strings.HasPrefix(s.full.text, "#!lua") || len(s.full.sha) != 40 || s.full.sha == s.plain.sha {
			t.Errorf("%s: plain starts %.10q, full %.10q", s.name, s.plain.text, s.full.text)
		}
	}
}

func TestMissingScriptsPanicWhileThePackageLoads(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	load("no such script")
}
