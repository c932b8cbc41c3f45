package main

import (
	"testing"

	"github.com/athoune/worker-machine/internal/redistest"
)

func TestTheWholeProgramRuns(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), redistest.StartTCP(t).Addr); err != nil {
		t.Fatal(err)
	}
}
