// Package prometheus holds the alert rules beside it, and the dashboard for Grafana, against the real parser of PromQL and against what a
// worker and a server really tell.
package prometheus

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"

	"github.com/athoune/worker-machine/internal/redistest"
)

const patience = time.Minute

// page is what /metrics told: the names of labels by the names of series.
type page map[string]map[string]bool

var label = regexp.MustCompile(`([a-zA-Z_]+)="`)

func (p page) read(t *testing.T, url string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	ok(t, err)
	resp, err := http.DefaultClient.Do(r)
	ok(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ok(t, err)
	for line := range strings.Lines(string(text)) {
		name := line[:max(0, strings.IndexAny(line, "{ "))]
		if name == "" || line[0] == '#' {
			continue
		}
		if p[name] == nil {
			p[name] = map[string]bool{"instance": true, "job": true}
		}
		for _, m := range label.FindAllStringSubmatch(line, -1) {
			p[name][m[1]] = true
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// build makes the program.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "worker-machine")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/worker-machine")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// start runs the program until the end of the test, and returns the first part of what it says that matches.
func start(t *testing.T, program, redis, match string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "REDIS_URL="+redis)
	said, tell := io.Pipe()
	cmd.Stdout, cmd.Stderr = tell, tell
	ok(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(said)
	var all []string
	for lines.Scan() {
		all = append(all, lines.Text())
		if m := regexp.MustCompile(match).FindStringSubmatch(lines.Text()); m != nil {
			go func() { _, _ = io.Copy(io.Discard, said) }()
			return m[1]
		}
	}
	t.Fatalf("%q ended: %s", args, strings.Join(all, "\n"))
	return ""
}

// observe runs a worker and a server, and has them do something.
func observe(t *testing.T, program string) page {
	t.Helper()
	redis := redistest.StartTCP(t).URL()
	worker := start(t, program, redis, `metrics are at (\S+)`, "work", "--queue", "web", "--metrics-addr", "0", "--backoff-min", "1ms", "--backoff-max", "1ms",
		"--max-attempts", "2", "--handle", "good=true", "--handle", "bad=false")
	server := start(t, program, redis, `(http://127\S+?)/,? `, "serve", "--addr", "127.0.0.1:0")
	for _, function := range []string{"good", "bad"} {
		cmd := exec.CommandContext(t.Context(), program, "call", "--queue", "web", function)
		cmd.Env = append(os.Environ(), "REDIS_URL="+redis)
		if out, err := cmd.CombinedOutput(); (err == nil) != (function == "good") {
			t.Fatalf("%s: %v\n%s", function, err, out)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server+"/api/v1/queues/web/tasks", strings.NewReader(`{"function":"good"}`))
	ok(t, err)
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	ok(t, err)
	_ = resp.Body.Close()
	p := page{}
	redistest.Eventually(t, patience, func() bool {
		p.read(t, worker)
		return p["worker_machine_tasks_done_total"] != nil && p["worker_machine_lease_renewals_total"] != nil
	}, "the worker has counted")
	p.read(t, server+"/metrics")
	return p
}

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	text, err := os.ReadFile("alerts.yaml")
	ok(t, err)
	var file struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	ok(t, yaml.UnmarshalStrict(text, &file))
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// panel is one of the dashboard.
type panel struct {
	ID      int    `json:"id"`
	Type    string `json:"type"`
	Title   string `json:"title"`
	GridPos struct {
		X, Y, W, H int
	} `json:"gridPos"`
	Datasource struct {
		UID string `json:"uid"`
	} `json:"datasource"`
	Targets []struct {
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
	} `json:"targets"`
}

func panels(t *testing.T) []panel {
	t.Helper()
	text, err := os.ReadFile("../grafana/worker-machine.json")
	ok(t, err)
	var board struct {
		Panels     []panel `json:"panels"`
		Templating struct {
			List []struct {
				Name, Type string
			} `json:"list"`
		} `json:"templating"`
	}
	ok(t, json.Unmarshal(text, &board))
	var variables []string
	for _, v := range board.Templating.List {
		variables = append(variables, v.Name+" "+v.Type)
	}
	if !slices.Equal(variables, []string{"datasource datasource", "queue query"}) {
		t.Errorf("variables: got %v", variables)
	}
	return board.Panels
}

// check parses an expression and returns the labels that it sums up by.
func (p page) check(t *testing.T, where, expr string) (by []string) {
	t.Helper()
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %s: %v", where, expr, err)
		return nil
	}
	parser.Inspect(tree, func(node parser.Node, path []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			labels := p[n.Name]
			if labels == nil {
				t.Errorf("%s: neither worker nor server tells of %s", where, n.Name)
				return nil
			}
			for _, m := range n.LabelMatchers {
				if m.Name != "__name__" && !labels[m.Name] {
					t.Errorf("%s: %s has no label %s", where, n.Name, m.Name)
				}
			}
			p.checkGrouping(t, where, n.Name, path)
		case *parser.AggregateExpr:
			by = append(by, n.Grouping...)
		}
		return nil
	})
	return by
}

// checkGrouping holds that what is summed up by a label has it.
func (p page) checkGrouping(t *testing.T, where, name string, path []parser.Node) {
	t.Helper()
	for _, above := range path {
		sum, isSum := above.(*parser.AggregateExpr)
		if !isSum {
			continue
		}
		for _, group := range sum.Grouping {
			if !p[name][group] {
				t.Errorf("%s: %s has no label %s to sum up by", where, name, group)
			}
		}
	}
}

var (
	command   = regexp.MustCompile("`(worker-machine [^`]*)`")
	reference = regexp.MustCompile(`\$labels\.(\w+)`)
	legend    = regexp.MustCompile(`{{(\w+)}}`)
)

func TestAlertsAndDashboardNameWhatIsThere(t *testing.T) {
	t.Parallel()
	program := build(t)
	seen := observe(t, program)
	all := rules(t)
	if len(all) < 10 {
		t.Errorf("%d rules", len(all))
	}
	for _, r := range all {
		r.check(t, program, seen.check(t, r.Alert, r.Expr))
	}
	exprs := 0
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			exprs++
			by := seen.check(t, p.Title, strings.NewReplacer("$__rate_interval", "5m", "$queue", ".*").Replace(target.Expr))
			for _, m := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(by, m[1]) {
					t.Errorf("%s: the legend names %s, which the expression does not keep", p.Title, m[1])
				}
			}
		}
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != "${datasource}") {
			t.Errorf("%s: %d targets of %s", p.Title, len(p.Targets), p.Datasource.UID)
		}
	}
	if exprs < 20 {
		t.Errorf("%d expressions in the dashboard", exprs)
	}
	var unused []string
	for name := range maps.Keys(seen) {
		if strings.HasPrefix(name, "worker_machine_") {
			unused = append(unused, name)
		}
	}
	if len(unused) < 40 {
		t.Errorf("worker and server tell of %v only", unused)
	}
}

// check reads the texts of an alert, and has the program read the commands in them.
func (r *rule) check(t *testing.T, program string, by []string) {
	t.Helper()
	if r.Annotations["summary"] == "" || !strings.Contains(r.Annotations["description"], "worker-machine ") || r.Labels["severity"] == "" {
		t.Errorf("%s: no summary, severity, or command to run", r.Alert)
	}
	if _, err := time.ParseDuration(r.For); r.For != "" && err != nil {
		t.Errorf("%s: %v", r.Alert, err)
	}
	for name, text := range r.Annotations {
		for _, m := range reference.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(by, m[1]) {
				t.Errorf("%s: %s names the label %s, which the expression does not keep", r.Alert, name, m[1])
			}
		}
		shown := render(t, r.Alert, text)
		commands := command.FindAllStringSubmatch(shown, -1)
		if name == "description" && len(commands) == 0 {
			t.Errorf("%s: no command in backquotes", r.Alert)
		}
		for _, m := range commands {
			args := append(strings.Fields(m[1])[1:], "--help") // flags are read before help is shown
			if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
				t.Errorf("%s: %q: %v\n%s", r.Alert, args, err, out)
			}
		}
	}
}

// render fills in an annotation as Prometheus does.
func render(t *testing.T, alert, text string) string {
	t.Helper()
	same := func(v any) string { return fmt.Sprint(v) }
	parsed, err := template.New(alert).Funcs(template.FuncMap{"humanize": same, "humanizeDuration": same, "humanizePercentage": same}).
		Parse("{{$labels := .Labels}}{{$value := .Value}}" + text)
	ok(t, err)
	var out strings.Builder
	ok(t, parsed.Execute(&out, map[string]any{
		"Labels": map[string]string{"queue": "web", "function": "f", "instance": "10.0.0.1:9464", "kind": "full"}, "Value": 1.5,
	}))
	return out.String()
}

func TestPanelsDoNotOverlap(t *testing.T) {
	t.Parallel()
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range panels(t) {
		if ids[p.ID] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q: its ID is taken, it has no title, or is too wide", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" {
					t.Fatalf("%q and %q overlap", p.Title, taken[at])
				}
				taken[at] = p.Title
			}
		}
	}
}
