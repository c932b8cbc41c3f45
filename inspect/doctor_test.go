package inspect_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// examine runs the doctor and returns what it found, by name of the check.
func (r *rig) examine() map[string]inspect.Check {
	r.t.Helper()
	checks := must(r.Doctor(r.t.Context(), queue))(r.t)
	byName := map[string]inspect.Check{}
	for _, c := range checks {
		byName[c.Name] = c
		if c.Found == "" || (c.Grade == inspect.Warning || c.Grade == inspect.Refused) && c.Remedy == "" {
			r.t.Errorf("%+v says not enough", c)
		}
		if (c.Queue == queue) != strings.HasPrefix(c.Name, "queue.") {
			r.t.Errorf("%+v is of queue %q", c, c.Queue)
		}
	}
	return byName
}

// want holds that a check has a grade and says something, in Found or Remedy.
func (r *rig) want(name string, grade inspect.Grade, says ...string) {
	r.t.Helper()
	c := r.examine()[name]
	if c.Grade != grade {
		r.t.Errorf("%s: got %+v, want %s", name, c, grade)
	}
	for _, text := range says {
		if !strings.Contains(c.Found+" "+c.Remedy, text) {
			r.t.Errorf("%s: got %+v, want %q in it", name, c, text)
		}
	}
}

func nothing(context.Context, group.Task) ([]byte, error) { return nil, nil }

func TestDoctorFindsNothingOnAGoodServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, "--appendonly", "yes", "--maxmemory", "200mb")
	r.start(group.Config{}, nothing)
	client := r.client()
	must(work.Enqueue(t.Context(), client, "x"))(t)
	must(work.Enqueue(t.Context(), client, "later", stream.After(time.Hour)))(t)
	redistest.Eventually(t, longer, func() bool { return r.redis.HGet(t.Context(), r.keys.Counts(), "done").Val() == "1" }, "it ran")
	checks := must(r.Doctor(t.Context()))(t)
	for _, c := range checks {
		if testing.Verbose() {
			t.Logf("%s %s %s: %s", c.Grade, c.Name, c.Queue, c.Found)
		}
		if c.Grade != inspect.Passed {
			t.Errorf("got %+v", c)
		}
	}
	if len(checks) != 28 {
		t.Errorf("%d checks, want 14 of the server and 14 of the queue", len(checks))
	}
	before := r.redis.DBSize(t.Context()).Val()
	r.examine()
	if after := r.redis.DBSize(t.Context()).Val(); after != before {
		t.Errorf("%d keys before, %d after: it is to change nothing", before, after)
	}
}

func TestDoctorFindsWhatIsWrongWithAServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set   []string // names and values of CONFIG SET
		check string
		grade inspect.Grade
		says  []string
	}{
		"evicts all":           {[]string{"maxmemory", "100mb", "maxmemory-policy", "allkeys-lru"}, "redis.maxmemory-policy", inspect.Refused, []string{"whole queues", "CONFIG SET maxmemory-policy noeviction"}},
		"evicts what expires":  {[]string{"maxmemory", "100mb", "maxmemory-policy", "volatile-ttl"}, "redis.maxmemory-policy", inspect.Refused, []string{"leases"}},
		"would, without limit": {[]string{"maxmemory", "0", "maxmemory-policy", "allkeys-lru"}, "redis.maxmemory-policy", inspect.Passed, []string{"no maxmemory"}},
		"is full":              {[]string{"maxmemory", "1000000"}, "redis.memory", inspect.Warning, []string{"purge"}},
		"no append-only file":  {nil, "redis.aof", inspect.Warning, []string{"CONFIG SET appendonly yes"}},
		"too few replicas":     {[]string{"min-replicas-to-write", "1"}, "redis.min-replicas", inspect.Refused, []string{"NOREPLICAS", "min-replicas-to-write 0"}},
		"no keepalive":         {[]string{"tcp-keepalive", "0"}, "redis.tcp-keepalive", inspect.Warning, []string{"tcp-keepalive 60"}},
		"small values only":    {[]string{"proto-max-bulk-len", "1048576"}, "redis.proto-max-bulk-len", inspect.Refused, []string{"512mb"}},
		"small nodes":          {[]string{"stream-node-max-entries", "10"}, "redis.stream-node-max-entries", inspect.Passed, []string{"10"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			for n := 0; n < len(c.set); n += 2 {
				ok(t, r.redis.ConfigSet(t.Context(), c.set[n], c.set[n+1]).Err())
			}
			r.want(c.check, c.grade, c.says...)
		})
	}
}

func TestDoctorOfAReplica(t *testing.T) {
	t.Parallel()
	primary := redistest.StartTCP(t)
	_, port, _ := strings.Cut(primary.Addr, ":")
	r := newRig(t, "--replicaof", "127.0.0.1 "+port)
	redistest.Eventually(t, longer, func() bool {
		return strings.Contains(r.redis.Info(t.Context(), "replication").Val(), "master_link_status:up")
	}, "it follows")
	r.want("redis.role", inspect.Refused, "replica of "+primary.Addr, "redis://"+primary.Addr)
	of := rigOn(t, primary, primary.Client(t))
	of.want("redis.role", inspect.Passed)
	of.want("redis.min-replicas", inspect.Warning, "failover may lose", "min-replicas-to-write 1")
}

func TestDoctorOfAServerThatIsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.server.Kill()
	if checks, err := r.Doctor(t.Context()); err == nil {
		t.Errorf("got %+v, want an error", checks)
	}
}

// TestDoctorKnowsTheRights holds its list to that of PROTOCOL.md, and finds what a user may not.
func TestDoctorKnowsTheRights(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	page := string(must(os.ReadFile("../PROTOCOL.md"))(t))
	rules := strings.Fields(regexp.MustCompile("(?s)```acl\n(.*?)```").FindStringSubmatch(page)[1])
	login := func(name string, rules ...string) *rig {
		args := []any{"acl", "setuser", name, "on", ">secret"}
		for _, rule := range rules {
			args = append(args, rule)
		}
		ok(t, r.redis.Do(t.Context(), args...).Err())
		return rigOn(t, r.server, r.server.Client(t, func(o *redis.Options) { o.Username, o.Password = name, "secret" }))
	}
	all := login("all", rules...)
	all.want("redis.rights", inspect.Passed, "user all")
	for name, grade := range map[string]inspect.Grade{"redis.role": inspect.Passed, "redis.scripts": inspect.Passed, "redis.proto-max-bulk-len": inspect.Unknown} {
		all.want(name, grade)
	}
	for n, rule := range rules {
		if !strings.HasPrefix(rule, "+") || slices.Contains([]string{"+ping", "+hello", "+auth", "+info", "+multi", "+exec", "+eval", "+evalsha", "+time"}, rule) {
			continue
		}
		without := login(fmt.Sprint("u", n), slices.Concat(rules, []string{"-" + rule[1:]})...)
		checks, err := without.Doctor(t.Context())
		ok(t, err)
		at := slices.IndexFunc(checks, func(c inspect.Check) bool { return c.Name == "redis.rights" })
		if c := checks[at]; c.Grade == inspect.Passed || !strings.Contains(c.Remedy, fmt.Sprintf("SETUSER u%d %s", n, rule)) {
			t.Errorf("without %s: got %+v", rule, c)
		}
	}
	login("elsewhere", slices.Concat([]string{"~other:*"}, rules[1:])...).want("redis.rights", inspect.Refused, "xadd", "keys and channels as PROTOCOL.md")
	login("deaf", slices.Concat(rules, []string{"-publish", "-subscribe"})...).want("redis.rights", inspect.Warning, "publish", "lease runs out", "hints do not come")
	login("blind", "~*", "&*", "+@all", "-info").want("redis.version", inspect.Unknown, "+info")
	login("bare", "-@all", "+info").want("redis.rights", inspect.Refused, "+multi")
}

func TestDoctorFindsWhatIsStuck(t *testing.T) {
	t.Parallel()
	add := func(r *rig, function string) string {
		task := wire.Task{ID: stream.NewID(), Function: function}
		return must(r.redis.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.keys.Tasks(), Values: task.Fields()}).Result())(r.t)
	}
	old := func(r *rig, function string) { // an hour ago
		task := wire.Task{ID: stream.NewID(), Function: function}
		ms := time.Now().Add(-time.Hour).UnixMilli()
		ok(r.t, r.redis.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.keys.Tasks(), ID: fmt.Sprint(ms, "-0"), Values: task.Fields()}).Err())
	}
	makeGroup := func(r *rig) {
		ok(r.t, r.redis.XGroupCreateMkStream(r.t.Context(), r.keys.Tasks(), "workers", "0").Err())
	}
	lease := func(r *rig, worker string, info wire.LeaseInfo) {
		ok(r.t, r.redis.Set(r.t.Context(), r.keys.Lease(worker), "1 "+info.Encode(), time.Hour).Err())
		ok(r.t, r.redis.Do(r.t.Context(), "xgroup", "createconsumer", r.keys.Tasks(), "workers", worker).Err())
	}
	deliver := func(r *rig, worker string) {
		ok(r.t, r.redis.XReadGroup(r.t.Context(), &redis.XReadGroupArgs{Group: "workers", Consumer: worker, Streams: []string{r.keys.Tasks(), ">"}, Block: -1}).Err())
	}
	do := func(r *rig, args ...any) { ok(r.t, r.redis.Do(r.t.Context(), args...).Err()) }
	for name, c := range map[string]struct {
		make  func(r *rig)
		check string
		grade inspect.Grade
		says  []string
	}{
		"wrong type": {func(r *rig) { do(r, "set", r.keys.Dead(), "x") }, "queue.keys", inspect.Refused, []string{"wm:{q}:dead is no stream", "RENAME wm:{q}:dead"}},
		"no group":   {func(r *rig) { add(r, "f") }, "queue.group", inspect.Warning, []string{"no group"}},
		"group far ahead": {func(r *rig) {
			makeGroup(r)
			add(r, "f")
			do(r, "xgroup", "setid", r.keys.Tasks(), "workers", "99999999999999-0")
		}, "queue.group", inspect.Refused, []string{"XGROUP SETID wm:{q}:tasks workers 0"}},
		"exhausted IDs": {func(r *rig) {
			makeGroup(r)
			do(r, "xadd", r.keys.Tasks(), "18446744073709551615-18446744073709551615", "v1", "x")
		}, "queue.ids", inspect.Refused, []string{"nothing can be added", "RENAME"}},
		"IDs of the future": {func(r *rig) { do(r, "xadd", r.keys.Tasks(), "99999999999999-0", "v1", "x") }, "queue.ids", inspect.Warning, []string{"future"}},
		"no worker":         {func(r *rig) { add(r, "f") }, "queue.workers", inspect.Refused, []string{"1 task waiting", "work --queue q"}},
		"paused": {func(r *rig) {
			add(r, "f")
			ok(r.t, r.Pause(r.t.Context(), queue))
		}, "queue.paused", inspect.Warning, []string{"1 task waiting", "worker-machine resume q", "for 0s"}},
		"workers are busy": {func(r *rig) {
			makeGroup(r)
			old(r, "f")
			add(r, "f")
			do(r, "xgroup", "setid", r.keys.Tasks(), "workers", "0")
			lease(r, "w", wire.LeaseInfo{Concurrency: 1, Functions: []string{"f"}})
			do(r, "xreadgroup", "group", "workers", "w", "count", 1, "streams", r.keys.Tasks(), ">")
		}, "queue.waiting", inspect.Passed, []string{"for f"}},
		"workers are busy for long": {func(r *rig) {
			makeGroup(r)
			old(r, "g")
			deliver(r, "w")
			ms := time.Now().Add(-30 * time.Minute).UnixMilli()
			task := wire.Task{ID: stream.NewID(), Function: "f"}
			ok(r.t, r.redis.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.keys.Tasks(), ID: fmt.Sprint(ms, "-0"), Values: task.Fields()}).Err())
			lease(r, "w", wire.LeaseInfo{Concurrency: 1, Functions: []string{"f"}})
		}, "queue.waiting", inspect.Warning, []string{"the oldest, for f, for 30m0s", "more workers"}},
		"workers do not fetch": {func(r *rig) {
			makeGroup(r)
			old(r, "f")
			lease(r, "w", wire.LeaseInfo{Concurrency: 4, Functions: []string{"f"}})
		}, "queue.waiting", inspect.Refused, []string{"do not fetch", "1h0m0s"}},
		"unknown function": {func(r *rig) {
			makeGroup(r)
			add(r, "f")
			add(r, "odd")
			lease(r, "w", wire.LeaseInfo{Concurrency: 4, Functions: []string{"f", "g"}})
		}, "queue.functions", inspect.Refused, []string{"odd (1 task of 2", "they know f, g"}},
		"a task runs for long": {func(r *rig) {
			makeGroup(r)
			entry := add(r, "f")
			lease(r, "w", wire.LeaseInfo{Concurrency: 4})
			deliver(r, "w")
			do(r, "xclaim", r.keys.Tasks(), "workers", "w", 0, entry, "idle", 2*3600*1000)
		}, "queue.pending", inspect.Warning, []string{"2h0m0s", "tasks cancel"}},
		"dead worker, others live": {func(r *rig) {
			makeGroup(r)
			add(r, "f")
			deliver(r, "gone")
			lease(r, "w", wire.LeaseInfo{Concurrency: 4})
		}, "queue.consumers", inspect.Warning, []string{"1 worker without a lease, with 1 task: gone", "within seconds"}},
		"dead worker, nobody there": {func(r *rig) {
			makeGroup(r)
			add(r, "f")
			deliver(r, "gone")
		}, "queue.consumers", inspect.Refused, []string{"start a worker"}},
		"ghosts": {func(r *rig) {
			makeGroup(r)
			for range 3 {
				add(r, "f")
			}
			deliver(r, "gone")
			do(r, "xgroup", "delconsumer", r.keys.Tasks(), "workers", "gone")
		}, "queue.ghosts", inspect.Refused, []string{"3 tasks delivered and pending with nobody", "start a worker"}},
		"overdue": {func(r *rig) {
			makeGroup(r)
			do(r, "zadd", r.keys.Due(), time.Now().Add(-time.Minute).UnixMilli(), stream.NewID())
			lease(r, "w", wire.LeaseInfo{Concurrency: 4})
		}, "queue.due", inspect.Refused, []string{"1m0s", "logs"}},
		"crashes":            {func(r *rig) { do(r, "hset", r.keys.Crashes(), "1-1", 2) }, "queue.crashes", inspect.Warning, []string{"HGETALL wm:{q}:crashes"}},
		"fresh dead letters": {func(r *rig) { r.bury(3, three) }, "queue.dead", inspect.Warning, []string{"3 dead letters", "dead groups -q q"}},
		"reply stream for ever": {func(r *rig) {
			id := r.reply()
			do(r, "zadd", r.keys.Sessions(), time.Now().Add(-time.Minute).UnixMilli(), id)
		}, "queue.replies", inspect.Refused, []string{"redis-cli UNLINK wm:{q}:reply:"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c.make(r)
			r.want(c.check, c.grade, c.says...)
		})
	}
}

// TestDoctorSaysHowMuchItLookedAt has more of everything than the doctor reads.
func TestDoctorSaysHowMuchItLookedAt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const removed, consumers, sessions = 700, 501, 30
	r.makeGroup()
	r.fill(6000, "")
	r.deliver("gone", removed)
	entries := must(r.redis.XRange(t.Context(), r.keys.Tasks(), "-", "+").Result())(t)
	pipe := r.redis.Pipeline()
	for _, e := range entries[:removed] { // pending, and not there any more: the pages of both lists differ
		pipe.XDel(t.Context(), r.keys.Tasks(), e.ID)
	}
	for n := range consumers {
		pipe.XGroupCreateConsumer(t.Context(), r.keys.Tasks(), "workers", fmt.Sprint("worker", n))
	}
	for n := range sessions {
		pipe.ZAdd(t.Context(), r.keys.Sessions(), redis.Z{Score: float64(time.Now().Add(-time.Duration(n+1) * time.Minute).UnixMilli()), Member: stream.NewID()})
	}
	_, err := pipe.Exec(t.Context())
	ok(t, err)
	r.deliver("careless", 3)
	ok(t, r.redis.XGroupDelConsumer(t.Context(), r.keys.Tasks(), "workers", "careless").Err())
	r.deliver("busy", 5000)
	ghost := entries[removed].ID
	commands := r.commands(func() { // ten pages of what is pending, without those removed, and the ghosts between them
		r.want("queue.ghosts", inspect.Refused, "3 tasks", ghost, "the oldest 4303 were looked at")
	})
	if commands > 100 {
		t.Errorf("%d commands, want 100 at most", commands)
	}
	r.want("queue.pending", inspect.Passed, "of the oldest 200 the longest")
	r.want("queue.consumers", inspect.Refused, "of 503, 500 were looked at")
	r.want("queue.functions", inspect.Unknown, "of 503 workers only 500")
	r.want("queue.replies", inspect.Passed, "of 30 clients that have left, the 10")
}

func TestDoctorOfACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 2)
	store := must(stream.NewStore(cluster.Client(t), stream.Config{}))(t)
	t.Cleanup(func() { _ = store.Close() })
	client := must(stream.NewClient(store, stream.ClientConfig{}))(t)
	t.Cleanup(func() { _ = client.Close(context.WithoutCancel(t.Context())) })
	must(work.Enqueue(t.Context(), client, "x"))(t)
	checks := must(inspect.New(store).Doctor(t.Context()))(t)
	n := 0
	for _, c := range checks {
		if c.Name == "redis.cluster" || c.Name == "redis.rights" {
			n++
			if c.Grade != inspect.Passed {
				t.Errorf("got %+v", c)
			}
		}
		if c.Name == "queue.workers" && c.Grade != inspect.Refused {
			t.Errorf("got %+v", c)
		}
	}
	if n != 4 {
		t.Errorf("%d checks of two servers, want 4: %+v", n, checks)
	}
	single := rigOn(t, cluster.Servers[0], cluster.Servers[0].Client(t))
	single.want("redis.cluster", inspect.Refused, "redis+cluster://")
}

func TestVersionsAreCompared(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		info string
		want inspect.Grade
		says string
	}{
		"Redis 6.2":              {"redis_version:6.2.14", inspect.Refused, "Redis 6.2.14"},
		"Redis 7.0":              {"redis_version:7.0.15", inspect.Passed, "Redis 7.0.15"},
		"Redis 10.1":             {"redis_version:10.1.0", inspect.Passed, "Redis 10.1.0"},
		"Valkey 8.1":             {"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.1", inspect.Passed, "Valkey 8.1.1"},
		"Valkey 7.2, too old":    {"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:7.2.8", inspect.Refused, "Valkey 7.2.8"},
		"Valkey of a new number": {"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:10.0.0", inspect.Passed, "Valkey 10.0.0"},
	} {
		if grade, found := inspect.VersionOf(c.info); grade != c.want || !strings.Contains(found, c.says) {
			t.Errorf("%s: got %s, %q", name, grade, found)
		}
	}
}
