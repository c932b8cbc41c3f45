package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// backend makes a new server that holds nothing.
type backend func(ctx context.Context, place place) (*server, error)

// place is where a new server lies, and how it is reached.
type place struct {
	dir  string
	unix bool // through a socket, for Redis, which has the choice
	aof  bool // Redis keeps an append-only file
}

// server is a private server process with its data in a directory that goes with it.
type server struct {
	address string
	pid     int
	redis   *redis.Client // nil for others
	stop    func()
}

// daemon is a server that is a command of its own.
type daemon struct {
	cmd    *exec.Cmd
	output *tail
	exited chan struct{}
}

// startDaemon starts a command that ends with stop, not with ctx: what was measured is read from it after a timeout too.
func startDaemon(ctx context.Context, credential *syscall.Credential, dir string, command ...string) (*daemon, error) {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), command[0], command[1:]...)
	d := &daemon{cmd: cmd, output: &tail{}, exited: make(chan struct{})}
	d.cmd.Dir, d.cmd.Stdout, d.cmd.Stderr = dir, d.output, d.output
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: credential}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = d.cmd.Wait() // its output says why it ended
		close(d.exited)
	}()
	return d, nil
}

// end waits until the process has ended after a signal, and kills it when that takes too long.
func (d *daemon) end(signal syscall.Signal, wait time.Duration) {
	_ = d.cmd.Process.Signal(signal) // it may have ended already
	select {
	case <-d.exited:
	case <-time.After(wait):
		_ = d.cmd.Process.Kill()
		<-d.exited
	}
}

// until asks again and again whether a server is up.
func (d *daemon) until(ctx context.Context, up func() bool) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !up() {
		select {
		case <-d.exited:
			return fmt.Errorf("%s ended: %s", filepath.Base(d.cmd.Path), d.output.text())
		case <-ctx.Done():
			return fmt.Errorf("%s does not start: %w: %s", filepath.Base(d.cmd.Path), ctx.Err(), d.output.text())
		case <-ticker.C:
		}
	}
	return nil
}

// redisBackend starts a redis-server.
func redisBackend(ctx context.Context, place place) (*server, error) {
	return startRedis(ctx, place, 10)
}

// startRedis starts a redis-server, under another command if one is given. Without place.aof it keeps nothing on disk.
func startRedis(ctx context.Context, place place, hz int, under ...string) (*server, error) {
	address, port := filepath.Join(place.dir, "redis.sock"), "0"
	if !place.unix {
		free, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		address, port = net.JoinHostPort("127.0.0.1", free), free
	}
	command := append(slices.Clone(under), "redis-server", "--port", port, "--bind", "127.0.0.1",
		"--unixsocket", filepath.Join(place.dir, "redis.sock"), "--save", "", "--appendonly", yesNo[place.aof], "--appendfsync", "everysec",
		"--dir", place.dir, "--hz", strconv.Itoa(hz), "--daemonize", "no")
	d, err := startDaemon(ctx, nil, place.dir, command...)
	if err != nil {
		return nil, err
	}
	client := newRedis(address, 2)
	err = d.until(ctx, func() bool { return isUp(ctx, address) && client.Ping(ctx).Err() == nil })
	s := &server{address: address, pid: d.cmd.Process.Pid, redis: client, stop: func() {
		_ = client.Close()
		d.end(syscall.SIGTERM, 20*time.Second)
	}}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

var yesNo = map[bool]string{true: "yes", false: "no"}

// isUp tells whether somebody listens; asking the client at once would cost its waits between tries.
func isUp(ctx context.Context, address string) bool {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network(address), address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// freePort is a port that nobody listens on.
func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// cpu is the CPU time of the server, in seconds.
func (s *server) cpu(ctx context.Context) (float64, error) {
	if s.redis == nil {
		return processCPU(s.pid)
	}
	info, err := s.info(ctx, "cpu")
	return number(info, "used_cpu_user") + number(info, "used_cpu_sys"), err
}

// commands is how many commands the server has run.
func (s *server) commands(ctx context.Context) (float64, error) {
	info, err := s.info(ctx, "stats")
	return number(info, "total_commands_processed"), err
}

func (s *server) info(ctx context.Context, section string) (map[string]string, error) {
	text, err := s.redis.Info(ctx, section).Result()
	fields := map[string]string{}
	for line := range strings.SplitSeq(text, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = value
		}
	}
	return fields, err
}

func number(fields map[string]string, name string) float64 {
	n, err := strconv.ParseFloat(fields[name], 64)
	if err != nil {
		return 0
	}
	return n
}

// memory is the size of all keys, as MEMORY USAGE tells.
func (s *server) memory(ctx context.Context) (total int64, err error) {
	if s.redis == nil {
		return 0, errors.New("only Redis tells")
	}
	keys := s.redis.Scan(ctx, 0, "*", 1000).Iterator()
	pipe := s.redis.Pipeline()
	sizes := []*redis.IntCmd{}
	flush := func() error {
		if len(sizes) == 0 {
			return nil
		}
		if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) { // a key may expire meanwhile
			return err
		}
		for _, size := range sizes {
			total += size.Val()
		}
		sizes = sizes[:0]
		return nil
	}
	for keys.Next(ctx) {
		sizes = append(sizes, pipe.MemoryUsage(ctx, keys.Val(), 0))
		if len(sizes) == 1000 {
			if err = flush(); err != nil {
				return 0, err
			}
		}
	}
	return total, errors.Join(keys.Err(), flush())
}

// processCPU is the CPU time of a process and of those below it, as far as they live or it has waited for them.
func processCPU(root int) (float64, error) {
	const ticks = 100 // of a second, on every Linux
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	parents, times := map[int]int{}, map[int]float64{}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it is gone
		}
		name, rest, ok := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 15 {
			continue
		}
		first, _, _ := strings.Cut(name, " ")
		pid, sum := atoi(first), 0
		for _, field := range fields[11:15] {
			sum += atoi(field)
		}
		parents[pid], times[pid] = atoi(fields[1]), float64(sum)/ticks
	}
	total := 0.0
	for pid, used := range times {
		for p := pid; p > 1; p = parents[p] {
			if p == root {
				total += used
				break
			}
		}
	}
	return total, nil
}

func atoi(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}
