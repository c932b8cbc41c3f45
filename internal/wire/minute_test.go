package wire

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMinuteIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	want := Minute{}
	d := want.Deeds("getTitle")
	d.Done, d.Retried, d.Dead = 5, 2, 1
	d.Handler.Add(3*time.Millisecond, 4)
	d.Handler.Add(0, 1)
	want.Deeds(More).Done = 7
	want.Wait.Add(math.MaxInt64, 1)
	var text []string
	for _, field := range want.Fields() {
		text = append(text, fmt.Sprint(field))
	}
	if got := ParseMinute(strings.Join(text, " ")); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	full := ParseMinute("minute 60000 from 5 enqueued 9 waiting 1 running 2 delayed 3")
	if full.At != 60000 || full.Enqueued != 4 || full.Waiting != 1 || full.Running != 2 || full.Delayed != 3 {
		t.Errorf("got %+v", full)
	}
}

func TestMinuteOfSomebodyElseIsReadAsFarAsItFits(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", " ", "minute", "minute x", "f:99 1", "f:-1 1", ": 1", "f 1", "from 9 enqueued 1", "f:d 99999999999999999999"} {
		if got := ParseMinute(text); got.At != 0 || got.Enqueued != 0 || got.Wait.N() != 0 {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

func TestQuantilesAreUpperBounds(t *testing.T) {
	t.Parallel()
	var s Spread
	if s.Quantile(0.5) != 0 {
		t.Error("there is one of nothing")
	}
	s.Add(time.Microsecond, 98)
	s.Add(100*time.Microsecond, 1)
	s.Add(time.Second, 1)
	for q, want := range map[float64]time.Duration{
		0: 2 * time.Microsecond, 0.5: 2 * time.Microsecond, 0.98: 2 * time.Microsecond, 0.99: 128 * time.Microsecond, 1: 1 << 20 * time.Microsecond,
	} {
		if got := s.Quantile(q); got != want {
			t.Errorf("%v: got %v, want %v", q, got, want)
		}
	}
}
