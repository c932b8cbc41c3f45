package stream

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// open is how many lines a store has.
func open(store *Store) int {
	store.mu.Lock()
	defer store.mu.Unlock()
	return len(store.lines)
}

func TestLinesAreFewAndCloseWhenNobodyUsesThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // nobody dials
		store, err := NewStore(rdb, Config{})
		if err != nil {
			t.Fatal(err)
		}
		lines := newLines(store)
		var taken []*line
		lanes := make([]*lane, mostLines+1)
		for i := range lanes {
			lanes[i] = &lane{}
			taken = append(taken, lines.take(lanes[i]))
		}
		late := lanes[mostLines]
		if taken[mostLines] != nil || open(store) != mostLines {
			t.Errorf("%d lines are open, and one more lane has %v", open(store), taken[mostLines])
		}
		<-time.After(time.Millisecond) // by the clock of the bubble
		for _, o := range taken {
			lines.put(o)
		}
		if again := lines.take(lanes[3]); again != taken[3] {
			t.Error("a lane has lost its line to nobody")
		}
		if lines.take(late) != nil {
			t.Error("the line of a lane that has just used it went to another")
		}
		<-time.After(lineIdle)
		if got := lines.take(late); got == nil || got == taken[3] || got.lane != late {
			t.Errorf("after a while: got %+v, want an idle line", got)
		} else {
			lines.put(got)
		}
		<-time.After(3 * lineLives)
		if open(store) != 1 {
			t.Errorf("after minutes %d lines are open, want the one in use", open(store))
		}
		if err = lines.close(); err != nil || open(store) != 1 {
			t.Errorf("closed: %v, %d lines", err, open(store))
		}
		lines.put(taken[3])
		if lines.take(late) != nil || open(store) != 0 {
			t.Errorf("after the last call %d lines are open", open(store))
		}
		if err = store.Close(); err != nil {
			t.Error(err)
		}
		if late := newLines(store); late.take(lanes[0]) != nil {
			t.Error("a closed store makes lines")
		}
		_ = rdb.Close()
	})
}
