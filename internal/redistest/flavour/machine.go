package flavour

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"

	"github.com/athoune/worker-machine/internal/redistest"
)

// Machine is a server whose process can be frozen, killed and started again. It keeps its address, and its data as far as its
// arguments make it write them down. Methods fail the test instead of returning errors.
type Machine interface {
	Address() string // host:port
	Freeze()
	Thaw()
	Kill()
	Restart()
}

// StartMachine runs a server of the flavour with arguments of its own, such as "--appendonly", "yes". Containers are paused and
// killed by Docker, processes by signals.
func (f Flavour) StartMachine(t testing.TB, args ...string) Machine {
	t.Helper()
	switch {
	case f.Embedded:
		t.Fatal("flavour: the embedded server is no process")
		return nil
	case f.image == "":
		return process{redistest.StartBinary(t, f.binary(t), args...)}
	default:
		return startContained(t, f.image, args)
	}
}

func (f Flavour) binary(t testing.TB) string {
	t.Helper()
	if f.program != "" {
		return f.program
	}
	return redistest.Binary(t)
}

// process is a local one.
type process struct{ *redistest.Server }

func (p process) Address() string { return p.Addr }
func (p process) Freeze()         { p.Stop() }
func (p process) Thaw()           { p.Cont() }
func (p process) Restart()        { p.Server.Restart() }

// contained is one in a container.
type contained struct {
	t    testing.TB
	addr string
	id   string
}

func startContained(t testing.TB, image string, args []string) *contained {
	t.Helper()
	const inside = "6379/tcp"
	// A port that Docker picks would be another one after a restart.
	port := redistest.FreePort(t)
	c := &contained{t: t, addr: "127.0.0.1:" + strconv.Itoa(port)}
	args = append([]string{"--protected-mode", "no", "--bind", "0.0.0.0", "--save", ""}, args...)
	started, err := testcontainers.Run(t.Context(), image,
		testcontainers.WithExposedPorts(inside), testcontainers.WithCmd(args...), testcontainers.WithLogger(log.NewNoopLogger()),
		testcontainers.WithHostConfigModifier(func(host *container.HostConfig) {
			binding := network.PortBinding{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(port)}
			host.PortBindings = network.PortMap{network.MustParsePort(inside): {binding}}
		}))
	testcontainers.CleanupContainer(t, started, testcontainers.StopTimeout(0))
	if err != nil {
		t.Fatalf("flavour: start %s: %v", image, err)
	}
	c.id = started.GetContainerID()
	awaitAnswer(t, c.addr, image)
	return c
}

func (c *contained) Address() string { return c.addr }

func (c *contained) Freeze() {
	_, err := c.docker().ContainerPause(c.t.Context(), c.id, client.ContainerPauseOptions{})
	c.must("pause", err)
}

func (c *contained) Thaw() {
	_, err := c.docker().ContainerUnpause(c.t.Context(), c.id, client.ContainerUnpauseOptions{})
	c.must("unpause", err)
}

func (c *contained) Kill() {
	_, err := c.docker().ContainerKill(c.t.Context(), c.id, client.ContainerKillOptions{Signal: "KILL"})
	c.must("kill", err)
}

func (c *contained) Restart() {
	_, err := c.docker().ContainerStart(c.t.Context(), c.id, client.ContainerStartOptions{})
	c.must("start", err)
	awaitAnswer(c.t, c.addr, c.id)
}

func (c *contained) docker() client.APIClient {
	c.t.Helper()
	provider, err := engine()
	c.must("reach Docker", err)
	return provider.Client()
}

func (c *contained) must(what string, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("flavour: %s the container at %s: %v", what, c.addr, err)
	}
}
