package group

import (
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// newName makes a consumer name that nobody had before: <host>-<pid>-<ulid>.
func newName() string {
	const roomForHost = 80
	host, _ := os.Hostname() // without one there are still the process and the ULID
	host = strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r == '_' || (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') {
			return r
		}
		return '-'
	}, host)
	host = strings.TrimLeft(host[:min(len(host), roomForHost)], "-._")
	name := host + "-" + strconv.Itoa(os.Getpid()) + "-" + stream.NewID()
	if wire.CheckName("worker", name) != nil {
		return "worker-" + strconv.Itoa(os.Getpid()) + "-" + stream.NewID()
	}
	return name
}

// leaseText is what the worker's lease says.
func (w *Worker) leaseText() string {
	host, _ := os.Hostname()
	return wire.LeaseInfo{
		Host: host, PID: os.Getpid(), Version: moduleVersion(), Started: w.began.UnixMilli(), Concurrency: w.cfg.Concurrency,
		Functions: slices.Collect(maps.Keys(w.mux.handlers)), Queues: w.queueNames(), Presence: w.present.Load(),
	}.Encode()
}

// modulePath is how the build information of a program names this module.
const modulePath = "github.com/athoune/worker-machine"

// moduleVersion is the version of this module that was built in.
var moduleVersion = sync.OnceValue(func() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return versionDevel
	}
	return versionIn(build)
})

const versionDevel = "devel" // of a build from a working tree

func versionIn(build *debug.BuildInfo) string {
	for _, m := range append(build.Deps, &build.Main) {
		if m.Path != modulePath {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Version != "" && m.Version != "(devel)" {
			return m.Version
		}
	}
	return versionDevel
}
