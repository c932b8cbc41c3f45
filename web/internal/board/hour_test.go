package board_test

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// usual is what a queue of the scene does in a minute.
type usual struct {
	rate      float64
	functions []string
	took      []time.Duration // by its functions
}

// layHour writes an hour of history, as workers do: a wave of work, a burst that makes a backlog, and a fault that lasts some minutes.
func (r *rig) layHour() {
	r.t.Helper()
	for queue, does := range map[string]usual{
		"web":       {1240, []string{"getTitle", "fetchFeed", "crawl"}, []time.Duration{18 * time.Millisecond, 45 * time.Millisecond, 110 * time.Millisecond}},
		"mail":      {310, []string{"sendMail", "renderMail"}, []time.Duration{90 * time.Millisecond, 9 * time.Millisecond}},
		"images":    {95, []string{"resize", "thumbnail"}, []time.Duration{130 * time.Millisecond, 60 * time.Millisecond}},
		"analytics": {44, []string{"wordcount.map", "wordcount.reduce"}, []time.Duration{70 * time.Millisecond, 120 * time.Millisecond}},
	} {
		r.layQueue(queue, does)
	}
}

func (r *rig) layQueue(queue string, does usual) {
	r.t.Helper()
	rng := rand.New(rand.NewPCG(uint64(len(queue)), 3))
	now, err := r.redis.Time(r.t.Context()).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.redis.Del(r.t.Context(), "wm:{"+queue+"}:trend").Err(); err != nil {
		r.t.Fatal(err)
	}
	const minutes = 60
	parts := 0.0
	for k := range does.functions {
		parts += 1 / float64(k+1)
	}
	waiting, stored := 0.0, 0.0
	for i := range minutes {
		rate := does.rate * (1 + 0.3*math.Sin(float64(i)/9) + 0.15*rng.Float64())
		in := rate
		if i > 24 && i < 35 {
			in *= 1.7
		}
		done := min(in+waiting, does.rate*1.5)
		waiting = max(waiting+in-done, 4*rng.Float64())
		failing := 0.003
		if i > 41 && i < 48 && queue != "analytics" {
			failing = 0.06
		}
		at := now.Truncate(time.Minute).Add(time.Duration(i-minutes) * time.Minute)
		var text strings.Builder
		fmt.Fprintf(&text, "minute %d from %.0f enqueued %.0f waiting %.0f running %d delayed %.0f",
			at.UnixMilli(), stored, stored+in, waiting, 3+rng.IntN(20), done*failing*4)
		stored += in
		spreadOf(&text, "", done, time.Duration(2+waiting*900/does.rate)*time.Millisecond)
		for k, name := range does.functions {
			n := done / float64(k+1) / parts
			fmt.Fprintf(&text, " %s:d %.0f %s:r %.0f %s:x %.0f", name, n, name, n*failing*float64(k+1), name, n*failing*float64(k)/8)
			slow := 1 + failing*40*rng.Float64() + 0.8*rng.Float64()
			spreadOf(&text, name, n, time.Duration(float64(does.took[k])*slow))
		}
		err := r.redis.XAdd(r.t.Context(), &redis.XAddArgs{
			Stream: "wm:{" + queue + "}:trend", ID: fmt.Sprintf("%d-0", at.UnixMilli()), Values: []string{"v1", text.String()},
		}).Err()
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// spreadOf writes durations around a median: half of them in its bucket, the rest beside it.
func spreadOf(text *strings.Builder, function string, n float64, median time.Duration) {
	bucket := bits.Len64(uint64(median.Microseconds()))
	fmt.Fprintf(text, " %s:s %.0f", function, n*float64(median.Microseconds()))
	for offset, part := range []float64{0.55, 0.35, 0.07, 0.03} {
		fmt.Fprintf(text, " %s:%d %.0f", function, bucket+offset, n*part)
	}
}
