package inspect_test

import (
	"testing"
	"time"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// TestTrendHasEachMinute records two minutes with a hole between them, and the present one.
func TestTrendHasEachMinute(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, scripts, keys := t.Context(), r.store.Scripts(), r.store.Keys(queue)
	now := r.redis.Time(ctx).Val()
	if left := now.Truncate(time.Minute).Add(time.Minute).Sub(now); left < 3*time.Second {
		<-time.After(left) // what follows falls into one minute
		now = r.redis.Time(ctx).Val()
	}
	record := func(minutesAgo int, n int64) {
		t.Helper()
		var m wire.Minute
		d := m.Deeds("f")
		d.Done, d.Retried, d.Dead = n, 2*n, 3*n
		d.Handler.Add(time.Second, 99*n)
		d.Handler.Add(time.Minute, n)
		m.Deeds("a").Done = 1
		m.Wait.Add(3*time.Millisecond, n)
		if err := scripts.Record(ctx, r.store.Group(), []script.Record{{Keys: keys, Minute: m}}); err != nil {
			t.Fatal(err)
		}
		at := now.Truncate(time.Minute).Add(-time.Duration(minutesAgo) * time.Minute)
		if err := r.redis.HSet(ctx, keys.Now(), "minute", at.UnixMilli()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	record(3, 3)
	record(1, 1)
	one, err := r.Queue(ctx, queue)
	if err != nil || one.Recent.Done != 2 || one.Recent.Dead != 3 { // still among what is present
		t.Errorf("recent: %+v, %v", one.Recent, err)
	}
	record(0, 10)
	if one, err = r.Queue(ctx, queue); err != nil || one.Recent.Done != 2 || len(one.Recent.By) != 2 {
		t.Errorf("recent: %+v, %v", one.Recent, err)
	}
	trend, err := r.Trend(ctx, queue, 5)
	if err != nil || len(trend) != 5 {
		t.Fatal(trend, err)
	}
	for i, want := range []int64{0, 4, 0, 2, 11} {
		if trend[i].Done != want || !trend[i].At.Equal(now.Truncate(time.Minute).Add(time.Duration(i-4)*time.Minute)) {
			t.Errorf("minute %d: %v, %d done, want %d", i, trend[i].At, trend[i].Done, want)
		}
	}
	f := trend[4].By[1]
	want := inspect.Latency{N: 1000, Mean: (990 + 600) / 1000., P50: 1.048576, P95: 1.048576, P99: 1.048576}
	if f.Name != "f" || f.Retried != 20 || f.Dead != 30 || f.Handler != want || trend[4].Handler != want {
		t.Errorf("f: got %+v", f)
	}
	if w := trend[4].Wait; w.N != 10 || w.Mean != 0.003 || w.P99 != 0.004096 {
		t.Errorf("wait: got %+v", w)
	}
	if trend[2].By != nil || trend[2].Handler != (inspect.Latency{}) {
		t.Errorf("the hole: got %+v", trend[2])
	}
}

func TestTrendRefusesWhatItCannotHave(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, minutes := range []int{0, -1, 1441} {
		if _, err := r.Trend(t.Context(), queue, minutes); err == nil {
			t.Errorf("%d minutes: no error", minutes)
		}
	}
	if _, err := r.Trend(t.Context(), "no name", 5); err == nil {
		t.Error("a bad name: no error")
	}
	if trend, err := r.Trend(t.Context(), "unused", 1440); err != nil || len(trend) != 1440 || trend[0].At.IsZero() {
		t.Errorf("an unused queue: %d minutes, %v", len(trend), err)
	}
}
