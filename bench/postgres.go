package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// postgresProgram finds a program of PostgreSQL, also where Debian hides it.
func postgresProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	paths, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(paths) == 0 {
		return "", fmt.Errorf("%s is not installed (Debian: postgresql)", name)
	}
	slices.Sort(paths)
	return paths[len(paths)-1], nil
}

// postgresUser is who PostgreSQL runs as: it refuses to be root.
func postgresUser() (*syscall.Credential, string, error) {
	if os.Geteuid() != 0 {
		return nil, "", nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, "", errors.New("PostgreSQL refuses to run as root, and there is no user postgres")
	}
	return &syscall.Credential{Uid: uint32(atoi(account.Uid)), Gid: uint32(atoi(account.Gid))}, account.Username, nil
}

// postgresMissing says why there is no PostgreSQL, "" when there is one.
func postgresMissing() string {
	_, initErr := postgresProgram("initdb")
	_, serverErr := postgresProgram("postgres")
	_, _, userErr := postgresUser()
	if err := errors.Join(initErr, serverErr, userErr); err != nil {
		return err.Error()
	}
	return ""
}

// postgresBackend makes a database cluster and starts its server. Commits do not wait for the disk, as they do not with Redis.
func postgresBackend(ctx context.Context, place place) (*server, error) {
	dir := place.dir
	initdb, err := postgresProgram("initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := postgresProgram("postgres")
	if err != nil {
		return nil, err
	}
	credential, _, err := postgresUser()
	if err != nil {
		return nil, err
	}
	if credential != nil {
		if err := os.Chown(dir, int(credential.Uid), int(credential.Gid)); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(dir, "data")
	cmd := exec.CommandContext(ctx, initdb, "-D", data, "-U", queueName, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: credential}
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(output))
	}
	d, err := startDaemon(ctx, credential, dir, postgres, "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "synchronous_commit=off",
		"-c", "shared_buffers=128MB", "-c", "max_connections=100", "-c", "logging_collector=off")
	if err != nil {
		return nil, err
	}
	s := &server{
		address: fmt.Sprintf("postgres://%s@/postgres?host=%s", queueName, dir), pid: d.cmd.Process.Pid,
		stop: func() { d.end(syscall.SIGINT, 10*time.Second) },
	}
	err = d.until(ctx, func() bool { return answers(ctx, s.address) })
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func answers(ctx context.Context, address string) bool {
	pool, err := pgxpool.New(ctx, address)
	if err != nil {
		return false
	}
	defer pool.Close()
	return pool.Ping(ctx) == nil
}

// postgresVersion says which server is used.
func postgresVersion(ctx context.Context) string {
	path, err := postgresProgram("postgres")
	if err != nil {
		return ""
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return path
	}
	return firstLine(out)
}

func firstLine(text []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	return string(line)
}
