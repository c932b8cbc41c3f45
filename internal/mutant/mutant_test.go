package mutant

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the module's, seen from here.
const root = "../.."

// mutants are the constants of this package by name.
var mutants = map[string]bool{
	"Sequence": Sequence, "Gate": Gate, "Lease": Lease, "Reconcile": Reconcile, "Audit": Audit, "Replay": Replay,
}

// TestThisBuildIsWhole fails with each of the tags: what a suite reports that was built with one is about a mutant.
func TestThisBuildIsWhole(t *testing.T) {
	t.Parallel()
	for name, missing := range mutants {
		if missing {
			t.Errorf("mutant.%s is true: this is a build with the tag mutant_%s", name, strings.ToLower(name))
		}
	}
}

func TestScriptsHaveTheLinesThatMutantsChange(t *testing.T) {
	t.Parallel()
	for _, c := range changes {
		text, err := os.ReadFile(filepath.Join(root, "internal/script/lua", c.script+".lua"))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.in(string(text)); got == string(text) || strings.Contains(got, "\n"+c.line+"\n") {
			t.Errorf("%s: the line is still there: %s", c.script, c.line)
		}
		if got := Script(c.script, string(text)); !c.off && got != string(text) {
			t.Errorf("%s: changed without a tag", c.script)
		}
	}
}

func TestAScriptWithoutItsLinePanics(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"without": "a\nb\n", "twice": "a\nline\nline\nb\nline\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			change{script: "x", line: "line", mutant: "other"}.in(text)
		})
	}
}

// TestEveryMutantTakesSomethingAway looks for each constant where a mechanism lives: in code of another package, or in a changed line.
func TestEveryMutantTakesSomethingAway(t *testing.T) {
	t.Parallel()
	used := map[string][]string{}
	uses := regexp.MustCompile(`\bmutant\.([A-Z]\w*)\b`)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range uses.FindAllSubmatch(text, -1) {
			used[string(match[1])] = append(used[string(match[1])], path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("script.go")
	if err != nil {
		t.Fatal(err)
	}
	for name := range mutants {
		if len(used[name]) == 0 && !bytes.Contains(own, []byte("\t\t"+name+", ")) {
			t.Errorf("mutant.%s: nothing asks for it, so its tag takes nothing away", name)
		}
	}
	for name, paths := range used {
		if _, ok := mutants[name]; !ok && name != "Script" {
			t.Errorf("mutant.%s in %s is not in the table of this test", name, strings.Join(paths, ", "))
		}
	}
}

// TestEveryTagBuilds holds the tags to the packages where mechanisms live, and to their tests.
func TestEveryTagBuilds(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the core six times")
	}
	for _, name := range slices.Sorted(maps.Keys(mutants)) {
		tag := "mutant_" + strings.ToLower(name)
		command := exec.CommandContext(t.Context(), "go", "vet", "-tags", tag,
			"./internal/mutant", "./internal/script", "./stream", "./reclaim", "./group")
		command.Dir = root
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("go vet -tags %s: %v\n%s", tag, err, output)
		}
		list := exec.CommandContext(t.Context(), "go", "list", "-tags", tag, "-f", "{{.GoFiles}}", "./internal/mutant")
		list.Dir = root
		output, err := list.Output()
		if want := strings.ToLower(name) + ".go"; err != nil || !strings.Contains(string(output), want) || strings.Contains(string(output), "none.go") {
			t.Errorf("go list -tags %s: got %s, %v; want %s and not none.go", tag, output, err, want)
		}
	}
}
