package inspect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/script"
)

const (
	oldestRedis   = "7.0"
	oldestValkey  = "8.0"
	largestValue  = 64 << 20 // no task and no result is larger
	longKeepalive = 300      // seconds
	nearlyFull    = 0.9
)

// facts are what a server says of itself.
type facts struct {
	info   map[string]string // of INFO; empty where that is refused
	config map[string]string // of CONFIG GET, likewise
	ahead  time.Duration     // its clock of ours
	whole  bool              // the client knows all servers of the cluster
}

// examineServers checks the server, or each primary of a cluster.
func (i *Inspector) examineServers(ctx context.Context) ([]Check, error) {
	switch client := i.store.Client().(type) {
	case *redis.ClusterClient:
		var mu sync.Mutex
		var checks []Check
		err := client.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			some, err := i.examineServer(ctx, node, true)
			mu.Lock()
			defer mu.Unlock()
			for _, c := range some {
				c.Found = node.Options().Addr + ": " + c.Found
				checks = append(checks, c)
			}
			return err
		})
		return checks, err
	case *redis.Client:
		return i.examineServer(ctx, client, false)
	default:
		return nil, fmt.Errorf("a client of type %T", client)
	}
}

func (i *Inspector) examineServer(ctx context.Context, node *redis.Client, whole bool) ([]Check, error) {
	f, err := factsOf(ctx, node)
	if err != nil {
		return nil, err
	}
	f.whole = whole
	checks := make([]Check, 0, len(serverChecks)+2)
	for _, check := range serverChecks {
		c := Check{Name: "redis." + check.name}
		if check.needs != "" && f.info[check.needs] == "" {
			c.Grade, c.Found = Unknown, "INFO does not tell "+check.needs
			c.Remedy = "allow it: redis-cli ACL SETUSER " + userOf(node) + " +info"
		} else {
			c.Grade, c.Found, c.Remedy = check.look(f)
		}
		checks = append(checks, c)
	}
	rights, err := i.examineRights(ctx, node, whole)
	if err != nil {
		return nil, err
	}
	return append(checks, rights, i.examineScripts(ctx)), nil
}

func factsOf(ctx context.Context, node *redis.Client) (*facts, error) {
	f := &facts{config: map[string]string{}}
	pipe := node.Pipeline()
	info := pipe.Info(ctx)
	var settings []*redis.MapStringStringCmd
	for _, name := range []string{"tcp-keepalive", "proto-max-bulk-len", "stream-node-max-entries", "min-replicas-to-write"} {
		settings = append(settings, pipe.ConfigGet(ctx, name))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	if err := info.Err(); err != nil && !answered(err) {
		return nil, err
	}
	sent := time.Now()
	clock, err := node.Time(ctx).Result()
	if err == nil {
		f.ahead = clock.Sub(sent.Add(time.Since(sent) / 2))
	}
	f.info = parseInfo(info.Val())
	for _, setting := range settings {
		for name, value := range setting.Val() {
			f.config[name] = value
		}
	}
	return f, nil
}

func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// answered tells whether an error is an answer of Redis: it is there, and refuses.
func answered(err error) bool {
	var refusal redis.Error
	return errors.As(err, &refusal)
}

func userOf(node *redis.Client) string {
	if user := node.Options().Username; user != "" {
		return user
	}
	return "default"
}

// serverChecks are the checks of a server, in the order they are told.
var serverChecks = []struct {
	name  string
	needs string // of INFO
	look  func(f *facts) (Grade, string, string)
}{
	{"role", "role", (*facts).role},
	{"version", "redis_version", (*facts).version},
	{"maxmemory-policy", "maxmemory_policy", (*facts).memoryPolicy},
	{"memory", "used_memory", (*facts).memory},
	{"aof", "aof_enabled", (*facts).appendOnly},
	{"disk", "rdb_last_bgsave_status", (*facts).disk},
	{"min-replicas", "connected_slaves", (*facts).replicas},
	{"cluster", "cluster_enabled", (*facts).cluster},
	{"clock", "", (*facts).clock},
	{"tcp-keepalive", "", (*facts).keepalive},
	{"proto-max-bulk-len", "", (*facts).bulk},
	{"stream-node-max-entries", "", (*facts).nodes},
}

func (f *facts) role() (Grade, string, string) {
	if f.info["role"] == "master" {
		return Passed, "it is a primary", ""
	}
	primary := f.info["master_host"] + ":" + f.info["master_port"]
	return Refused, "it is a replica of " + primary + ": it refuses what clients and workers write",
		"connect to the primary: --redis redis://" + primary + ", or to the Sentinels, which know it"
}

func (f *facts) version() (Grade, string, string) {
	name, version, oldest := "Redis", f.info["redis_version"], oldestRedis
	if valkey := f.info["valkey_version"]; valkey != "" { // its redis_version says what it is compatible with
		name, version, oldest = "Valkey", valkey, oldestValkey
	}
	if olderThan(version, oldest) {
		return Refused, fmt.Sprintf("%s %s: Worker Machine needs %s or newer", name, version, oldest),
			"install Redis " + oldestRedis + " or newer, or Valkey " + oldestValkey + " or newer"
	}
	return Passed, name + " " + version, ""
}

// olderThan compares the first two numbers of versions.
func olderThan(version, than string) bool {
	var a, b [2]int
	_, _ = fmt.Sscanf(version, "%d.%d", &a[0], &a[1])
	_, _ = fmt.Sscanf(than, "%d.%d", &b[0], &b[1])
	return a[0] < b[0] || a[0] == b[0] && a[1] < b[1]
}

func (f *facts) memoryPolicy() (Grade, string, string) {
	policy := f.info["maxmemory_policy"]
	switch {
	case policy == "noeviction":
		return Passed, "noeviction: a full Redis refuses what is new, and loses nothing", ""
	case f.info["maxmemory"] == "0":
		return Passed, policy + ", but there is no maxmemory, so nothing is evicted", ""
	case strings.HasPrefix(policy, "volatile"):
		return Refused, policy + ": when memory is full Redis removes keys that expire, so leases, producer lanes and reply streams",
			"redis-cli CONFIG SET maxmemory-policy noeviction, and the same line in redis.conf"
	default:
		return Refused, policy + ": when memory is full Redis removes keys, so whole queues",
			"redis-cli CONFIG SET maxmemory-policy noeviction, and the same line in redis.conf"
	}
}

func (f *facts) memory() (Grade, string, string) {
	used, most := f.number("used_memory"), f.number("maxmemory")
	if most == 0 {
		return Passed, mebibytes(used) + " used, no limit", ""
	}
	found := fmt.Sprintf("%s of %s used", mebibytes(used), mebibytes(most))
	if used < most*nearlyFull {
		return Passed, found, ""
	}
	return Warning, found + ": soon, or already, no task can be stored; workers go on",
		"let workers catch up, purge dead letters (worker-machine purge QUEUE --state dead), or redis-cli CONFIG SET maxmemory <more>"
}

func (f *facts) appendOnly() (Grade, string, string) {
	if f.info["aof_enabled"] == "1" {
		return Passed, "the append-only file is on: a restart loses nothing, a crash of the machine a second or two", ""
	}
	return Warning, "the append-only file is off: a restart loses all tasks since the last snapshot, though clients were told they are stored",
		"redis-cli CONFIG SET appendonly yes, and the same line in redis.conf"
}

func (f *facts) disk() (Grade, string, string) {
	var bad []string
	if f.info["aof_enabled"] == "1" {
		bad = f.notOK(bad, "aof_last_write_status", "aof_last_bgrewrite_status")
	}
	if bad = f.notOK(bad, "rdb_last_bgsave_status"); len(bad) > 0 {
		return Refused, strings.Join(bad, ", ") + ": Redis cannot write to its disk, and refuses writes until it can",
			"make room on its disk (df -h in its dir, redis-cli CONFIG GET dir) and see its log; then redis-cli BGREWRITEAOF or BGSAVE"
	}
	return Passed, "what was last written to disk was written well", ""
}

func (f *facts) notOK(bad []string, names ...string) []string {
	for _, name := range names {
		if status := f.info[name]; status != "" && status != "ok" {
			bad = append(bad, name+" is "+status)
		}
	}
	return bad
}

func (f *facts) replicas() (Grade, string, string) {
	n, least := f.info["connected_slaves"], f.config["min-replicas-to-write"]
	if good := f.info["min_slaves_good_slaves"]; good != "" { // told where a least number is set
		if least == "" || olderThan(good, least) {
			return Refused, fmt.Sprintf("min-replicas-to-write is %s and %s replicas keep up: where there are too few, Redis refuses all writes (NOREPLICAS)",
					orUnknown(least), good),
				"bring the replicas back, or redis-cli CONFIG SET min-replicas-to-write 0"
		}
		return Passed, fmt.Sprintf("%s replicas keep up, %s are needed to write", good, least), ""
	}
	if n == "0" {
		return Passed, "it has no replica, so no failover can lose what was acknowledged", ""
	}
	return Warning, n + " replicas, and none has to keep up: a failover may lose tasks that clients were told are stored",
		"redis-cli CONFIG SET min-replicas-to-write 1, or stream.Replicas(1) where tasks are enqueued"
}

func orUnknown(s string) string {
	if s == "" {
		return "not known"
	}
	return s
}

func (f *facts) cluster() (Grade, string, string) {
	switch {
	case f.info["cluster_enabled"] != "1":
		return Passed, "no cluster", ""
	case f.whole:
		return Passed, "a node of a cluster; all keys of a queue lie in one slot", ""
	default:
		return Refused, "it is a node of a cluster, and this connection is to a single server: queues on other nodes are out of reach",
			"use a URL for clusters: --redis redis+cluster://HOST:PORT"
	}
}

func (f *facts) clock() (Grade, string, string) {
	ahead := f.ahead.Round(time.Millisecond)
	switch {
	case ahead > time.Millisecond:
		return Passed, fmt.Sprintf("its clock is %v ahead of the one here; only its own counts", ahead), ""
	case ahead < -time.Millisecond:
		return Passed, fmt.Sprintf("its clock is %v behind the one here; only its own counts", -ahead), ""
	default:
		return Passed, "its clock is that of this machine, to a millisecond", ""
	}
}

// unreadable is the answer of checks that need CONFIG.
func unreadable(name string) (Grade, string, string) {
	return Unknown, "this user may not read it", "as an administrator: redis-cli CONFIG GET " + name
}

func (f *facts) keepalive() (Grade, string, string) {
	const name = "tcp-keepalive"
	if f.config[name] == "" {
		return unreadable(name)
	}
	seconds, err := strconv.Atoi(f.config[name])
	if err != nil || seconds == 0 || seconds > longKeepalive {
		return Warning, f.config[name] + " s: connections of machines that are gone stay open for long, and are handed tasks",
			"redis-cli CONFIG SET tcp-keepalive 60"
	}
	return Passed, f.config[name] + " s", ""
}

func (f *facts) bulk() (Grade, string, string) {
	const name = "proto-max-bulk-len"
	if f.config[name] == "" {
		return unreadable(name)
	}
	bytes, err := strconv.ParseInt(f.config[name], 10, 64)
	if err != nil || bytes < largestValue {
		return Refused, f.config[name] + " bytes: tasks and results may have 64 MiB, and Redis would cut the connection",
			"redis-cli CONFIG SET proto-max-bulk-len 512mb"
	}
	return Passed, mebibytes(float64(bytes)) + ", more than any task or result", ""
}

func (f *facts) nodes() (Grade, string, string) {
	const name = "stream-node-max-entries"
	if f.config[name] == "" {
		return unreadable(name)
	}
	if n, err := strconv.Atoi(f.config[name]); err == nil && n > 10 {
		return Passed, f.config[name] + ". Where tasks run long beside short ones, 10 makes their removal cheaper and takes some memory: " +
			"redis-cli CONFIG SET stream-node-max-entries 10", ""
	}
	return Passed, f.config[name], ""
}

func (f *facts) number(name string) float64 {
	n, _ := strconv.ParseFloat(f.info[name], 64)
	return n
}

func mebibytes(n float64) string { return strconv.FormatFloat(n/(1<<20), 'f', 1, 64) + " MiB" }

// examineScripts runs one, which tells whether they run at all; one that Redis has forgotten is sent again.
func (i *Inspector) examineScripts(ctx context.Context) Check {
	c := Check{Name: "redis.scripts", Grade: Passed, Found: "scripts run, and are sent again where Redis has forgotten them"}
	if _, _, err := i.store.Scripts().LetterIDs(ctx, i.store.Keys("doctor"), &script.LetterQuery{Start: "-", End: "+", Look: 1, Find: 1}); err != nil {
		c.Grade, c.Found = Refused, "scripts do not run: "+err.Error()
		c.Remedy = "redis-cli ACL SETUSER <user> +eval +evalsha, and the rights of PROTOCOL.md; EVAL 'return 1' 0 must answer 1"
	}
	return c
}
