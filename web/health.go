package web

import (
	"bufio"
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	readyFor     = time.Second // an answer is good for so long, however many probes there are
	readyWithin  = 2 * time.Second
	oldestRedis  = 7
	checkReached = "redis.reachable"
)

// verdict is what /readyz says.
type verdict struct {
	Ready  bool         `json:"ready"`
	Checks []readyCheck `json:"checks"`
}

type readyCheck struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// readiness remembers the last verdict.
type readiness struct {
	mu   sync.Mutex
	at   time.Time
	last verdict
}

// health says that the server is alive, whatever Redis is.
func (h *Handler) health(w http.ResponseWriter, _ *http.Request) {
	_ = answer(w, http.StatusOK, map[string]bool{"alive": true})
}

// readyz says whether requests can be served.
func (h *Handler) readyz(w http.ResponseWriter, r *http.Request) {
	v := h.judge(context.WithoutCancel(r.Context()))
	status := http.StatusOK
	if !v.Ready {
		status = http.StatusServiceUnavailable
	}
	_ = answer(w, status, v)
}

// judge asks Redis at most once a second; who comes meanwhile waits for that answer.
func (h *Handler) judge(ctx context.Context) verdict {
	select {
	case <-h.stopping:
		return verdict{Checks: []readyCheck{{Check: "server.serving", Detail: "it stops"}}}
	default:
	}
	h.ready.mu.Lock()
	defer h.ready.mu.Unlock()
	if time.Since(h.ready.at) < readyFor {
		return h.ready.last
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	info, err := h.store.Client().Info(ctx).Result()
	if err != nil {
		h.log.Warn("not ready", zap.Error(err))
		info = ""
	}
	h.ready.last, h.ready.at = h.weigh(err, facts(info)), time.Now()
	return h.ready.last
}

// weigh judges what INFO says. A user of Redis who may not ask for it still gets an answer, which is enough.
func (h *Handler) weigh(err error, info map[string]string) verdict {
	v := verdict{Ready: true}
	check := func(name string, ok bool, detail string) {
		c := readyCheck{Check: name, OK: ok}
		if !ok {
			c.Detail, v.Ready = detail, false
		}
		v.Checks = append(v.Checks, c)
	}
	refused := redis.HasErrorPrefix(err, "NOPERM")
	check(checkReached, err == nil || refused, "Redis does not answer, or refuses to serve")
	if err != nil {
		return v
	}
	version, _, _ := strings.Cut(info["redis_version"], ".")
	major, parseErr := strconv.Atoi(version)
	check("redis.version", parseErr != nil || major >= oldestRedis, "older than 7.0")
	check("redis.loading", info["loading"] != "1", "it is loading its data")
	_, cluster := h.store.Client().(*redis.ClusterClient)
	check("redis.writable", cluster || info["role"] != "slave", "it is a replica")
	used, limit := number(info["used_memory"]), number(info["maxmemory"])
	check("redis.memory", limit == 0 || used < limit, "it is at its memory limit: nothing can be stored")
	check("redis.disk", info["aof_last_write_status"] != "err", "its last write to disk failed")
	return v
}

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64) // what is missing is 0
	return n
}

func facts(info string) map[string]string {
	found := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(info))
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			found[name] = value
		}
	}
	return found
}
