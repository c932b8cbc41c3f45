package main

import (
	"os"
	"runtime/pprof"
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
