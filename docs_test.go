package workermachine_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documents are the pages these tests hold to the code.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]string{}
	for _, path := range append(paths, "README.md", "DESIGN.md", "PROTOCOL.md", "CHANGELOG.md") {
		pages[path] = readFile(t, path)
	}
	return pages
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks are the fenced blocks of a language, without their fences.
func blocks(page, language string) []string {
	var found []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(page, -1) {
		found = append(found, match[1])
	}
	return found
}

// TestGoBlocksAreExamples holds every ```go block to an example or a program that runs: its paragraphs stand in one such file, in this order;
// indentation and what is between paragraphs do not matter.
func TestGoBlocksAreExamples(t *testing.T) {
	t.Parallel()
	examples := map[string]string{}
	for _, pattern := range []string{"example*_test.go", "*/example*_test.go", "examples/*/main.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			examples[path] = unindented(readFile(t, path))
		}
	}
	for path, page := range documents(t) {
		for _, block := range blocks(page, "go") {
			if !slices.ContainsFunc(keys(examples), func(example string) bool { return stands(block, examples[example]) }) {
				t.Errorf("%s: this block stands in no example file; put it into the body of an Example, or take it from one:\n%s", path, block)
			}
		}
	}
}

// stands tells whether the paragraphs of a block stand in a text, in their order.
func stands(block, text string) bool {
	for paragraph := range strings.SplitSeq(unindented(block), "\n\n") {
		_, rest, ok := strings.Cut(text, strings.Trim(paragraph, "\n"))
		if !ok {
			return false
		}
		text = rest
	}
	return true
}

var blanks = regexp.MustCompile(`[ \t]+`)

// unindented is text with every run of blanks made one, and none at the beginning of a line.
func unindented(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = blanks.ReplaceAllString(strings.TrimSpace(line), " ")
	}
	return strings.Join(lines, "\n")
}

func keys(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestNamesInDocumentsExist holds what the pages say in backticks to the code: exported names, files and relative links.
func TestNamesInDocumentsExist(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile("`(stream|group|reclaim|mapreduce)\\.([A-Z][A-Za-z]*)")
	sentinel := regexp.MustCompile("`(Err[A-Z][A-Za-z]*)`")
	file := regexp.MustCompile("`((?:[a-z-]+/)*[a-z_-]+(?:\\.go|\\.lua|\\.md|\\.yml|/))`")
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	exported, tests := exportedNames(t), testNames(t)
	for path, page := range documents(t) {
		for _, match := range name.FindAllStringSubmatch(page, -1) {
			if !exported[match[1]][match[2]] {
				t.Errorf("%s: package %s exports no %s", path, match[1], match[2])
			}
		}
		for _, match := range sentinel.FindAllStringSubmatch(page, -1) {
			if !slices.ContainsFunc([]string{"stream", "group", "reclaim", "mapreduce"}, func(p string) bool { return exported[p][match[1]] }) {
				t.Errorf("%s: no package exports %s", path, match[1])
			}
		}
		for _, match := range regexp.MustCompile("`((?:Test|Example)[A-Za-z_]+)`").FindAllStringSubmatch(page, -1) {
			if !tests[match[1]] {
				t.Errorf("%s: there is no test %s", path, match[1])
			}
		}
		for _, match := range file.FindAllStringSubmatch(page, -1) {
			if _, err := os.Stat(match[1]); err != nil {
				t.Errorf("%s: %s: %v", path, match[0], err)
			}
		}
		for _, match := range link.FindAllStringSubmatch(page, -1) { // they begin where the page lies
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), match[1])); err != nil {
				t.Errorf("%s: %s: %v", path, match[0], err)
			}
		}
	}
}

// testNames are the tests and examples of all packages.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, match := range regexp.MustCompile(`(?m)^func ((?:Test|Example)\w+)\(`).FindAllStringSubmatch(readFile(t, path), -1) {
			found[match[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// exportedNames are those of the public packages: functions, types, variables, constants.
func exportedNames(t *testing.T) map[string]map[string]bool {
	t.Helper()
	exported := map[string]map[string]bool{}
	for _, name := range []string{"stream", "group", "reclaim", "mapreduce"} {
		exported[name] = map[string]bool{}
		paths, err := filepath.Glob(name + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, declaration := range file.Decls {
				for _, found := range declared(declaration) {
					exported[name][found] = ast.IsExported(found)
				}
			}
		}
	}
	return exported
}

func declared(declaration ast.Decl) []string {
	var names []string
	switch d := declaration.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				names = append(names, s.Name.Name)
			case *ast.ValueSpec:
				for _, name := range s.Names {
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}

// TestCommandsInDocumentsExist holds every line of a ```sh block to the program: its subcommands and flags, and to the scripts and
// make targets there are.
func TestCommandsInDocumentsExist(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "worker-machine")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/worker-machine").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	help := helpOf(t, program)
	targets := readFile(t, "Makefile")
	for path, page := range documents(t) {
		for _, block := range blocks(page, "sh") {
			for _, words := range shellCommands(block) {
				if complaint := checkCommand(words, help, targets); complaint != "" {
					t.Errorf("%s: %s: %s", path, strings.Join(words, " "), complaint)
				}
			}
		}
	}
}

// helpOf returns a function that asks the program for the help of a subcommand, once for each.
func helpOf(t *testing.T, program string) func(path []string) string {
	t.Helper()
	known := map[string]string{}
	return func(path []string) string {
		name := strings.Join(path, " ")
		if _, ok := known[name]; !ok {
			output, err := exec.CommandContext(t.Context(), program, append(slices.Clone(path), "--help")...).Output()
			if err != nil {
				t.Errorf("worker-machine %s --help: %v", name, err)
			}
			known[name] = string(output)
		}
		return known[name]
	}
}

// checkCommand returns what is wrong with one command of a page, "" for nothing.
func checkCommand(words []string, help func([]string) string, targets string) string {
	if i := slices.Index(words, "--"); i > 0 && i+1 < len(words) { // supervise starts another program
		if complaint := checkCommand(words[i+1:], help, targets); complaint != "" {
			return complaint
		}
		words = words[:i]
	}
	switch {
	case words[0] == "worker-machine":
		return checkArguments(words[1:], help)
	case len(words) > 2 && words[0] == "go" && words[1] == "run" && words[2] == "./cmd/worker-machine":
		return checkArguments(words[3:], help)
	case strings.Contains(words[0], "/"):
		if info, err := os.Stat(words[0]); err != nil || info.Mode()&0o111 == 0 {
			return "is no program of the repository"
		}
	case words[0] == "make" && len(words) > 1:
		if !strings.Contains(targets, "\n"+words[1]+":") {
			return "the Makefile has no such target"
		}
	}
	return ""
}

// checkArguments walks down the subcommands and looks up the flags.
func checkArguments(words []string, help func([]string) string) string {
	var path []string
	text := help(nil)
	for _, word := range words {
		if !regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(word) + ` {2,}`).MatchString(text) {
			break
		}
		path = append(path, word)
		text = help(path)
	}
	if len(path) == 0 && len(words) > 0 && !strings.HasPrefix(words[0], "-") {
		return "there is no such subcommand"
	}
	for _, word := range words[len(path):] {
		flag, _, _ := strings.Cut(word, "=")
		if strings.HasPrefix(flag, "-") && flag != "-" && !regexp.MustCompile(`(?m)^ +(-\w, )?`+regexp.QuoteMeta(flag)+`\b`).MatchString(text) &&
			!regexp.MustCompile(`(?m)^ +`+regexp.QuoteMeta(flag)+`, --`).MatchString(text) {
			return "there is no flag " + flag
		}
	}
	return ""
}

// shellCommands splits a script into simple commands, as far as the pages need it: quotes, pipes, redirections, comments,
// variables set for one command.
func shellCommands(script string) [][]string {
	var commands [][]string
	var words []string
	end := func() {
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	token := regexp.MustCompile(`#[^\n]*|\\\n|\n|&&|\|\||[|;&]|[<>]+|(?:'[^']*'|"[^"]*"|[^\s|;&<>'"])+|\s`)
	redirected := false
	for _, found := range token.FindAllString(script, -1) {
		switch {
		case found == "\n" || strings.Trim(found, "|;&") == "":
			end()
		case strings.TrimSpace(found) == "" || found == "\\\n" || found[0] == '#':
		case strings.Trim(found, "<>") == "":
			redirected = true
		case redirected:
			redirected = false
		case len(words) == 0 && regexp.MustCompile(`^\w+=`).MatchString(found):
		default:
			words = append(words, strings.NewReplacer("'", "", `"`, "").Replace(found))
		}
	}
	end()
	return commands
}
