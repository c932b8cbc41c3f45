package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
)

// natsBackend starts the nats-server in the PATH, or else the one that is compiled in, as a process of its own.
func natsBackend(ctx context.Context, place place) (*server, error) {
	dir := place.dir
	if path, err := exec.LookPath("nats-server"); err == nil {
		return startNATS(ctx, dir, path)
	}
	p, err := spawn(ctx, job{Role: "nats", System: "nats", Address: dir})
	if err != nil {
		return nil, err
	}
	r, err := p.await(ctx, "address")
	if err != nil {
		p.stop()
		return nil, err
	}
	return &server{address: r.Text, pid: p.cmd.Process.Pid, stop: p.stop}, nil
}

func startNATS(ctx context.Context, dir, path string) (*server, error) {
	d, err := startDaemon(ctx, nil, dir, path, "-js", "-sd", dir, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", dir)
	if err != nil {
		return nil, err
	}
	s := &server{pid: d.cmd.Process.Pid, stop: func() { d.end(syscall.SIGTERM, 10*time.Second) }}
	err = d.until(ctx, func() bool {
		files, err := filepath.Glob(filepath.Join(dir, "*.ports"))
		if err != nil || len(files) == 0 {
			return false
		}
		text, err := os.ReadFile(files[0])
		var ports struct {
			NATS []string `json:"nats"`
		}
		if err != nil || json.Unmarshal(text, &ports) != nil || len(ports.NATS) == 0 {
			return false
		}
		s.address = ports.NATS[0]
		return true
	})
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// serveNATS is the process of the server that is compiled in.
func serveNATS(ctx context.Context, j job, v *voice) error {
	s, err := natsd.NewServer(&natsd.Options{
		Host: "127.0.0.1", Port: natsd.RANDOM_PORT, JetStream: true, StoreDir: j.Address, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("nats: the server does not start")
	}
	v.say(report{Event: "address", Text: s.ClientURL()})
	<-ctx.Done()
	s.Shutdown()
	return nil
}

// natsVersion says which server is used.
func natsVersion(ctx context.Context) string {
	path, err := exec.LookPath("nats-server")
	if err != nil {
		return natsd.VERSION + " (compiled in)"
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return path
	}
	return firstLine(out)
}
