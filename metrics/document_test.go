package metrics_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/metrics"
)

// listing is a registry that lists what is registered.
type listing struct {
	prometheus.Registerer

	rows []string
}

var described = regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)", .*variableLabels: \{([^}]*)\}`)

func (l *listing) Register(c prometheus.Collector) error {
	of := "counter"
	switch c.(type) {
	case *prometheus.GaugeVec:
		of = "gauge"
	case *prometheus.HistogramVec:
		of = "histogram"
	}
	descs := make(chan *prometheus.Desc, 100)
	c.Describe(descs)
	close(descs)
	for d := range descs {
		m, of := described.FindStringSubmatch(d.String()), of
		if _, queues := c.(*metrics.Queues); queues && !strings.HasSuffix(m[1], "_total") {
			of = "gauge"
		}
		l.rows = append(l.rows, fmt.Sprintf("| `%s` | %s | %s | %s |", m[1], of, strings.ReplaceAll(m[3], ",", ", "), m[2]))
	}
	return nil
}

// TestMetricsAreDocumented holds the tables of docs/metrics.md to the code. UPDATE_GOLDEN=1 writes them.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	const path = "../docs/metrics.md"
	data, err := os.ReadFile(path)
	ok(t, err)
	page := string(data)
	for name, add := range map[string]func(*listing){
		"worker": func(l *listing) { _, err := metrics.NewWorker(l); ok(t, err) },
		"store":  func(l *listing) { _, err := metrics.NewStore(l); ok(t, err) },
		"queues": func(l *listing) { ok(t, l.Register(metrics.NewQueues(inspect.New(nil), metrics.QueuesConfig{}))) },
	} {
		var l listing
		add(&l)
		slices.Sort(l.rows)
		table := "| name | type | labels | |\n| --- | --- | --- | --- |\n" + strings.Join(l.rows, "\n") + "\n"
		begin, end := "<!-- "+name+": generated -->\n\n", "\n<!-- end of "+name+" -->"
		before, rest, ok1 := strings.Cut(page, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok1 || !ok2 {
			t.Fatalf("%s: no place for %s", path, name)
		}
		page = before + begin + table + end + after
	}
	if page == string(data) {
		return
	}
	if os.Getenv("UPDATE_GOLDEN") == "" {
		t.Fatalf("%s differs from the code: run make golden", path)
	}
	ok(t, os.WriteFile(path, []byte(page), 0o600))
}
