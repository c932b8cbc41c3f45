package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/redistest"
)

func TestMetricsAddr(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, slot, want string }{
		"a port is of this machine":          {"9464", "", "127.0.0.1:9464"},
		"a port after a colon is no less so": {":9464", "", "127.0.0.1:9464"},
		"a host is meant":                    {"0.0.0.0:9464", "", "0.0.0.0:9464"},
		"one of IPv6 too":                    {"[::1]:9464", "", "[::1]:9464"},
		"the first of several processes":     {"9464", "1", "127.0.0.1:9464"},
		"the third of several processes":     {"9464", "3", "127.0.0.1:9466"},
		"any port":                           {"0", "3", "127.0.0.1:0"},
	} {
		if got, err := metricsAddr(c.text, c.slot); got != c.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "x", "host:", "1:2:3", "99999"} {
		if got, err := metricsAddr(bad, ""); err == nil || !strings.Contains(err.Error(), "--metrics-addr") {
			t.Errorf("%q: got %q, %v, want an error", bad, got, err)
		}
	}
}

var metricsURL = regexp.MustCompile(`metrics are at (http://\S+)`)

func TestWorkServesMetrics(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	s := c.start("work", "--metrics-addr", "0", "--handle", "cat=cat")
	s.stderr.await(t, "ready")
	c.must("hello", "call", "cat")
	url := metricsURL.FindStringSubmatch(s.stderr.String())
	if url == nil {
		t.Fatalf("no address in %s", s.stderr)
	}
	var status int
	var body string
	redistest.Eventually(t, patience, func() bool { // a caller may hear of its result before the worker has counted it
		status, body = fetch(t, url[1], "")
		return strings.Contains(body, "worker_machine_tasks_done_total{")
	}, "a task is counted")
	for _, want := range []string{
		`worker_machine_tasks_done_total{function="cat",queue="default"} 1`, `worker_machine_script_duration_seconds_count{script="commit"} 1`,
		"worker_machine_build_info{", "process_resident_memory_bytes ", "go_goroutines ",
	} {
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("status %d, no %s", status, want)
		}
	}
	if status, _ = fetch(t, strings.TrimSuffix(url[1], "/metrics")+"/", ""); status != http.StatusNotFound {
		t.Errorf("another path: got %d", status)
	}
	s.ctrlC()
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.stderr)
	}
	if _, errs, code := c.run("", "work", "--metrics-addr", "x", "--handle", "cat=cat"); code != exitUsage || !strings.Contains(errs, "--metrics-addr") {
		t.Errorf("a wrong address: exit code %d, %s", code, errs)
	}
}

func TestServeTellsPrometheusOfTheQueues(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("", "enqueue", "--queue", "mail", "send")
	_, url := c.serve("--addr", "127.0.0.1:0")
	status, body := fetch(t, url+"/metrics", "")
	for _, want := range []string{`worker_machine_queue_waiting{queue="mail"} 1`, `worker_machine_queue_workers{queue="mail"} 0`, "worker_machine_redis_up 1"} {
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("status %d, no %s", status, want)
		}
	}
}
