// Package size lets every test package of integration take -full, so that `go test ./integration/... -full` is one command.
package size

import (
	"flag"
	"os"
)

var full = flag.Bool("full", os.Getenv("WM_FULL") != "", "run the long forms of the tests; the environment variable WM_FULL does the same")

// Full tells whether the long forms of the tests are wanted.
func Full() bool { return *full }

// Of is the short number or, with -full, the long one.
func Of(short, long int) int {
	if Full() {
		return long
	}
	return short
}
