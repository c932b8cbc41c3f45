package group

import (
	"testing"
	"time"

	"github.com/athoune/worker-machine/reclaim"
)

func TestLooksAreRarerTheMoreThereIsToSee(t *testing.T) {
	t.Parallel()
	crowd := func(others int) reclaim.Found { return reclaim.Found{Others: others, OthersPending: others} }
	for name, c := range map[string]struct {
		found []reclaim.Found
		want  time.Duration
	}{
		"one other":                        {[]reclaim.Found{crowd(1)}, lookBusy},
		"fifty others":                     {[]reclaim.Found{crowd(50)}, lookBusy},
		"a hundred others":                 {[]reclaim.Found{crowd(100)}, 400 * time.Millisecond},
		"a thousand others":                {[]reclaim.Found{crowd(1000)}, lookSlow},
		"many queues, nobody in them":      {make([]reclaim.Found, 10_000), lookBusy},
		"many queues, one other in each":   {manyTimes(2000, crowd(1)), 400 * time.Millisecond},
		"very many, with others in each":   {manyTimes(100_000, crowd(3)), lookSlow},
		"a busy queue among others":        {append(make([]reclaim.Found, 99), crowd(200)), 800 * time.Millisecond},
		"a thousand queues, one in each":   {manyTimes(1000, crowd(1)), lookBusy},
		"the largest crowd is what counts": {[]reclaim.Found{crowd(10), crowd(150), crowd(20)}, 600 * time.Millisecond},
	} {
		if got := lookInterval(c.found); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func manyTimes(n int, one reclaim.Found) []reclaim.Found {
	all := make([]reclaim.Found, n)
	for i := range all {
		all[i] = one
	}
	return all
}

// TestWhatACrowdHearsItDoesNotAskAtOnce holds that a message on the control channel makes few workers look at once, or a crowd within a while.
func TestWhatACrowdHearsItDoesNotAskAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for others, most := range map[int]time.Duration{0: 0, crowded: 0, 500: 500 * perOther / 2} {
		late := time.Duration(0)
		for range 100 {
			row := rescueRow{others: others}
			row.hurry(now)
			late = max(late, row.next.Sub(now))
			first := row.next
			for range 100 { // what is said again does not put the look off
				row.hurry(now)
			}
			if row.next.After(first) {
				t.Errorf("%d others: the look was put off from %v to %v", others, first, row.next)
			}
		}
		if late > most || late < most/2 {
			t.Errorf("%d others: the latest of 100 looks came after %v, want at most %v and not much less", others, late, most)
		}
	}
}
