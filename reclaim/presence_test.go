package reclaim

import (
	"testing"
	"time"
)

// step is one look of a story about a worker that others judge.
type step struct {
	at        time.Duration // since the beginning
	own       bool          // the observer sees itself
	absent    bool          // and does not see the worker
	disturbed bool          // the observer's own subscription broke just before
	dead      bool          // the verdict that is expected
}

func TestPresenceVerdicts(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, story := range map[string][]step{
		"two looks a tenth of a second apart find a worker dead": {
			{at: 0, own: true}, {at: 500 * ms, own: true, absent: true}, {at: 600 * ms, own: true, absent: true, dead: true},
		},
		"two looks at once do not": {
			{at: 0, own: true}, {at: 500 * ms, own: true, absent: true}, {at: 599 * ms, own: true, absent: true},
		},
		"a worker that came back in between starts anew": {
			{at: 0, own: true},
			{at: 500 * ms, own: true, absent: true},
			{at: 600 * ms, own: true},
			{at: 700 * ms, own: true, absent: true},
			{at: 800 * ms, own: true, absent: true, dead: true},
		},
		"an observer that just came judges nobody": {
			{at: 0, own: true, absent: true},
			{at: 200 * ms, own: true, absent: true},
			{at: 400 * ms, own: true, absent: true},
			{at: 500 * ms, own: true, absent: true},
			{at: 600 * ms, own: true, absent: true, dead: true},
		},
		"an observer that never sees itself judges nobody": {
			{at: 0, absent: true}, {at: time.Second, absent: true}, {at: 10 * time.Second, absent: true},
		},
		"an observer that lost itself holds its verdicts for three seconds": {
			{at: 0, own: true},
			{at: 600 * ms, own: true},
			{at: 1000 * ms, absent: true},
			{at: 1100 * ms, own: true, absent: true},
			{at: 2000 * ms, own: true, absent: true},
			{at: 3999 * ms, own: true, absent: true},
			{at: 4000 * ms, own: true, absent: true},
			{at: 4100 * ms, own: true, absent: true, dead: true},
		},
		"an observer that is told of its reconnect holds them too": {
			{at: 0, own: true},
			{at: 600 * ms, own: true, absent: true},
			{at: 700 * ms, own: true, absent: true, disturbed: true},
			{at: 3600 * ms, own: true, absent: true},
			{at: 3700 * ms, own: true, absent: true},
			{at: 3800 * ms, own: true, absent: true, dead: true},
		},
		"what was seen before a long time without looks counts for nothing": {
			{at: 0, own: true},
			{at: 600 * ms, own: true, absent: true},
			{at: 9 * time.Second, own: true, absent: true},
			{at: 9200 * ms, own: true, absent: true},
			{at: 9500 * ms, own: true, absent: true},
			{at: 9600 * ms, own: true, absent: true, dead: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, begin := newPresence(), time.Now()
			for i, s := range story {
				now := begin.Add(s.at)
				if s.disturbed {
					p.disturb(now)
				}
				valid, dead := p.look(now, s.own), false
				switch {
				case !s.absent:
					p.forget("w")
				case valid:
					dead = p.missing("w", now)
				}
				if dead != s.dead {
					t.Fatalf("look %d at %v: dead is %v, want %v", i, s.at, dead, s.dead)
				}
			}
		})
	}
}

func TestLeaseTellsPresence(t *testing.T) {
	t.Parallel()
	for lease, want := range map[string]bool{
		`1700000000.12 {"host":"a","presence":true}`:  true,
		`1700000000.12 {"host":"a","presence":false}`: false,
		`1700000000.12 {}`:                            false,
		`1700000000.12`:                               false,
		`by hand`:                                     false,
		``:                                            false,
		`{"presence":true}`:                           false, // no fence: not ours
		`1 {"presence":"yes"`:                         false,
	} {
		if got := keepsPresence(lease); got != want {
			t.Errorf("%q: got %v, want %v", lease, got, want)
		}
	}
}
