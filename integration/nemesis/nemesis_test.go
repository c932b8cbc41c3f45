// Package nemesis_test holds the random nemesis: all faults mixed, on real processes and real servers, drawn from a seed.
//
//	go test ./integration/nemesis                                  # a short one
//	go test ./integration/nemesis -full -timeout 90m               # 21 seeds on three servers, a million tasks
//	WM_SEED=7 WM_SERVER=redis-8.0 go test ./integration/nemesis    # that one again
package nemesis_test

import (
	"context"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/athoune/worker-machine/integration/internal/nemesis"
	"github.com/athoune/worker-machine/integration/internal/size"
	"github.com/athoune/worker-machine/integration/internal/stage"
	"github.com/athoune/worker-machine/internal/redistest/flavour"
)

func TestMain(m *testing.M) {
	code := m.Run()
	stage.Clean()
	os.Exit(code)
}

func TestNemesis(t *testing.T) {
	t.Parallel()
	for _, f := range flavour.All(t) {
		if f.Embedded {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			s := stage.New(t, stage.Config{Flavour: f, Seed: 1})
			n := nemesis.Start(t, s, nemesis.Config{Seed: 1})
			ctx, stop := context.WithTimeout(t.Context(), time.Duration(size.Of(10, 60))*time.Second)
			defer stop()
			n.Blow(ctx, size.Of(50, 300))
			s.Settle()
			for _, kind := range slices.Sorted(maps.Keys(n.Kinds())) {
				t.Logf("%3d %s", n.Kinds()[kind], kind)
			}
		})
		break
	}
}
