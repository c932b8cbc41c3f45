package group

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"time"

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

// leaseValue is what the lease of a worker says, for other workers and for people.
func leaseValue(started time.Time, presence bool) string {
	host, _ := os.Hostname()
	value, err := json.Marshal(struct {
		Host     string    `json:"host"`
		PID      int       `json:"pid"`
		Started  time.Time `json:"started"`
		Presence bool      `json:"presence"`
	}{host, os.Getpid(), started.UTC().Truncate(time.Second), presence})
	if err != nil {
		return "{}" // cannot be: all of it encodes
	}
	return string(value)
}
