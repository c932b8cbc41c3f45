package workermachine_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/athoune/worker-machine"

// layers lists the packages bottom up. A package imports only packages of lower layers, and belongs to the first layer that
// names it or a package above it in the tree.
var layers = [][]string{
	{"internal/wire", "internal/supervise", "internal/shuffle", "internal/turn", "internal/mutant"},
	{"internal/script", "internal/conn"},
	{"stream"},
	{"reclaim"},
	{"group"},
	{"mapreduce"},
	{"inspect"},
	{"metrics", "tracing"},
	{"web"},
	{"cmd/worker-machine", "integration", "examples"},
}

// testSupport holds the packages that only test files import. They are in no layer: they import none of the others.
var testSupport = []string{"internal/redistest"}

// harness is what tests of integration share: it is no test file, and stands on test support all the same.
const harness = "integration/internal"

// Modules a package of the core may import besides the standard library. Every other dependency would be one of every program
// that uses Worker Machine.
var (
	coreModules = []string{"github.com/redis/go-redis/v9", "github.com/oklog/ulid/v2", "go.uber.org/zap"}
	onlyLogging = []string{"go.uber.org/zap"}
)

// outside says which modules the packages may import; a package that is not named, with those below it, may import any.
var outside = map[string][]string{
	".":                  {},
	"internal/wire":      {},
	"internal/supervise": onlyLogging,
	"internal/shuffle":   {},
	"internal/mutant":    {},
	"internal/turn":      {},
	"internal/script":    coreModules,
	"internal/conn":      coreModules,
	"stream":             coreModules,
	"reclaim":            coreModules,
	"group":              coreModules,
	"mapreduce":          coreModules,
	"inspect":            coreModules,
	"web":                append(slices.Clone(coreModules), "github.com/prometheus/client_golang"),
}

// confined holds modules that only some packages may import, their tests included.
var confined = map[string][]string{
	"github.com/alicebob/miniredis/v2":            {"cmd/worker-machine", "integration/simulation", "internal/redistest"},
	"github.com/yuin/gopher-lua":                  {"integration/simulation"},
	"github.com/testcontainers/testcontainers-go": {"integration", "internal/redistest"},
	"github.com/Shopify/toxiproxy/v2":             {"integration"},
}

// pkg is what go list says about a package.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Error        *struct{ Err string }
}

// name is the path inside the module, "." for the root.
func (p pkg) name() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

func TestPackagesKeepToTheirLayers(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		for _, complaint := range check(p) {
			t.Error(complaint)
		}
	}
}

// TestTheRulesCatchWhatTheyAreFor holds the rules against packages that break them.
func TestTheRulesCatchWhatTheyAreFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pkg  pkg
		want string // part of the complaint, "" for none
	}{
		"downward import":           {pkg{ImportPath: "group", Imports: []string{"stream"}}, ""},
		"upward import":             {pkg{ImportPath: "stream", Imports: []string{"group"}}, "upward"},
		"import within a layer":     {pkg{ImportPath: "internal/wire", Imports: []string{"internal/supervise"}}, "upward"},
		"package below a named one": {pkg{ImportPath: "cmd/worker-machine/x", Imports: []string{"cmd/worker-machine/y", "web"}}, ""},
		"upward import of a test":   {pkg{ImportPath: "stream", TestImports: []string{"group"}}, "upward"},
		"external test on top":      {pkg{ImportPath: "stream", XTestImports: []string{"group"}}, ""},
		"layer of nobody":           {pkg{ImportPath: "helpers"}, "in no layer"},
		"wire with a client":        {pkg{ImportPath: "internal/wire", Imports: []string{"github.com/redis/go-redis/v9"}}, "go-redis"},
		"core with a dependency":    {pkg{ImportPath: "group", Imports: []string{"github.com/spf13/cobra"}}, "cobra"},
		"core with zap":             {pkg{ImportPath: "group", Imports: []string{"go.uber.org/zap/zapcore", "net/http"}}, ""},
		"redistest in code":         {pkg{ImportPath: "group", Imports: []string{"internal/redistest"}}, "test files only"},
		"redistest in a harness":    {pkg{ImportPath: "integration/internal/x", Imports: []string{"internal/redistest"}}, ""},
		"redistest in a test":       {pkg{ImportPath: "group", XTestImports: []string{"internal/redistest/flavour"}}, ""},
		"redistest on a layer":      {pkg{ImportPath: "internal/redistest", Imports: []string{"stream"}}, "stream"},
		"miniredis in the library":  {pkg{ImportPath: "group", TestImports: []string{"github.com/alicebob/miniredis/v2"}}, "miniredis"},
		"miniredis in the command":  {pkg{ImportPath: "cmd/worker-machine", Imports: []string{"github.com/alicebob/miniredis/v2"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(check(c.pkg.inModule()), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got complaint %q, want %q", got, c.want)
			}
		})
	}
}

// inModule completes the short names of the table above to import paths.
func (p pkg) inModule() pkg {
	complete := func(path string) string {
		if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") || first == "net" {
			return path
		}
		return module + "/" + path
	}
	p.ImportPath = complete(p.ImportPath)
	for _, list := range []*[]string{&p.Imports, &p.TestImports, &p.XTestImports} {
		own := make([]string, len(*list))
		for i, path := range *list {
			own[i] = complete(path)
		}
		*list = own
	}
	return p
}

// check returns what is wrong with a package, one line each.
func check(p pkg) []string {
	name := p.name()
	if layerOf(name) < 0 && !isTestSupport(name) && name != "." {
		return []string{name + ": is in no layer; add it to layers in arch_test.go, above all it imports"}
	}
	var complaints []string
	for _, path := range p.Imports {
		complaints = append(complaints, checkImport(name, path))
	}
	// An external test is a package of its own and may stand on anything, as an example of stream does on a worker; the tests
	// inside the package keep to its layer.
	for _, path := range append(slices.Clone(p.Imports), p.TestImports...) {
		complaints = append(complaints, checkLayer(name, path))
	}
	for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
		complaints = append(complaints, checkConfined(name, path))
	}
	complaints = slices.DeleteFunc(complaints, func(complaint string) bool { return complaint == "" })
	for i, complaint := range complaints {
		complaints[i] = name + ": " + complaint
	}
	return complaints
}

// checkImport is about code only: what it may import of other modules, and of test support.
func checkImport(name, path string) string {
	imported, inside := strings.CutPrefix(path, module+"/")
	switch {
	case !inside && !allowedOutside(name, path):
		return "imports " + path + "; see outside in arch_test.go for what it may import"
	case inside && isTestSupport(imported) && !isTestSupport(name) && !within(name)(harness):
		return "imports " + imported + ", which is for test files only"
	case inside && isTestSupport(name) && !isTestSupport(imported):
		return "imports " + imported + ", though test support imports no other package"
	}
	return ""
}

func checkLayer(name, path string) string {
	imported, inside := strings.CutPrefix(path, module+"/")
	own := layerOf(name)
	if inside && own >= 0 && layerOf(imported) >= own && !sameTree(name, imported) {
		return "imports " + imported + " upward or sideways"
	}
	return ""
}

func checkConfined(name, path string) string {
	for confinedModule, homes := range confined {
		if ofModule(path, confinedModule) && !slices.ContainsFunc(homes, within(name)) {
			return "imports " + path + ", which belongs in " + strings.Join(homes, " and ") + " only"
		}
	}
	return ""
}

func isTestSupport(name string) bool { return slices.ContainsFunc(testSupport, within(name)) }

// within returns a test for the package name being the root or below it.
func within(name string) func(root string) bool {
	return func(root string) bool { return name == root || strings.HasPrefix(name, root+"/") }
}

// layerOf is the layer of a package, -1 for none.
func layerOf(name string) int {
	return slices.IndexFunc(layers, func(layer []string) bool { return slices.ContainsFunc(layer, within(name)) })
}

// sameTree reports whether one entry of layers names both packages.
func sameTree(a, b string) bool {
	return slices.ContainsFunc(slices.Concat(layers...), func(root string) bool { return within(a)(root) && within(b)(root) })
}

func allowedOutside(name, path string) bool {
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	for root, modules := range outside {
		if within(name)(root) {
			return slices.ContainsFunc(modules, func(m string) bool { return ofModule(path, m) })
		}
	}
	return true
}

func ofModule(path, module string) bool { return path == module || strings.HasPrefix(path, module+"/") }

func listPackages(t *testing.T) []pkg {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports,Error", "./...")
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []pkg
	for decoder := json.NewDecoder(output); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if p.Error != nil {
			t.Errorf("%s: %s", p.ImportPath, p.Error.Err)
		}
		packages = append(packages, p)
	}
	if err := command.Wait(); err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(packages) == 0 {
		t.Fatal("go list names no package")
	}
	return packages
}
