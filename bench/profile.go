package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
)

// profile writes a CPU profile until the function it returns is called; without a path it does nothing.
func profile(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err = pprof.StartCPUProfile(file); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close() // a lost profile is seen at once
	}, nil
}

// measureTops runs rows of ours once more with the profiler, and keeps the functions that took the most CPU time.
func (s settings) measureTops(ctx context.Context, all *results, chosen []row) error {
	dir, err := os.MkdirTemp("", "wmbench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l := s.lab
	l.profiles, l.scale, l.window = dir, 3*l.scale, 3*l.window
	ours, err := systemNamed(oursName)
	if err != nil {
		return err
	}
	for _, r := range chosen {
		if all.hasProfile(r) || l.try(ctx, all, "profile of "+r.name, r, ours) == nil {
			continue
		}
		files, err := filepath.Glob(filepath.Join(dir, r.name+"-*.pprof"))
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := all.keepTop(ctx, file); err != nil {
				return err
			}
		}
		if err := all.save(s.json); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *results) hasProfile(w row) bool {
	for name := range r.Profiles {
		if strings.HasPrefix(name, w.name+"-") {
			return true
		}
	}
	return false
}

// keepTop adds the top of a profile, as pprof prints it.
func (r *results) keepTop(ctx context.Context, file string) error {
	const lines = 20
	var complaints tail
	cmd := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount="+strconv.Itoa(lines), file)
	cmd.Stderr = &complaints
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go tool pprof: %w: %s", err, complaints.text())
	}
	_, top, _ := strings.Cut(string(text), "Duration:")
	if r.Profiles == nil {
		r.Profiles = map[string]string{}
	}
	r.Profiles[strings.TrimSuffix(filepath.Base(file), ".pprof")] = "Duration:" + top
	return nil
}
