package integration

import (
	"fmt"
	"os"
	"testing"
)

// roleVariable makes the test binary play a part of a test instead of running the tests.
const roleVariable = "WM_INTEGRATION_ROLE"

// roles are the parts a child process can play; each runs until its work is done or its standard input ends.
var roles = map[string]func() error{
	"worker":        playWorker,
	"client":        playClient,
	"reducer":       playReducer,
	"run worker":    playRunWorker,
	"run submitter": playRunSubmitter,
}

func TestMain(m *testing.M) {
	name := os.Getenv(roleVariable)
	if name == "" {
		os.Exit(m.Run())
	}
	play, ok := roles[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s=%s: no such role\n", roleVariable, name)
		os.Exit(2)
	}
	if err := play(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// full tells whether the long forms of the tests are wanted.
func full() bool { return os.Getenv("WM_FULL") != "" }

// size is the short number or, with WM_FULL, the full one.
func size(short, long int) int {
	if full() {
		return long
	}
	return short
}
