package guard

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestFailuresAreAnsweredLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFailures()
		var took []time.Duration
		for range 8 {
			began := time.Now()
			if !f.Delay(t.Context(), "192.0.2.1:1000") {
				t.Fatal("a single failure at a time is not too many")
			}
			took = append(took, time.Since(began))
		}
		want := "[100ms 200ms 400ms 800ms 1.6s 3s 3s 3s]"
		if got := fmt.Sprint(took); got != want {
			t.Fatalf("failures were answered after %s, want %s", got, want)
		}
		began := time.Now()
		f.Delay(t.Context(), "192.0.2.2:1000")
		if d := time.Since(began); d != firstDelay {
			t.Errorf("the first failure of another address was answered after %v, want %v", d, firstDelay)
		}
		time.Sleep(forgiveAfter + time.Second) //nolint:forbidigo // the clock of synctest
		began = time.Now()
		f.Delay(t.Context(), "192.0.2.1:2000")
		if d := time.Since(began); d != firstDelay {
			t.Errorf("after a while a failure was answered after %v, want %v", d, firstDelay)
		}
	})
}

func TestFailuresEndWithTheirRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFailures()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		f.Delay(ctx, "192.0.2.1:1000")
		if d := time.Since(began); d != 0 {
			t.Errorf("the answer to a client that has left was held for %v", d)
		}
		if f.held != 0 {
			t.Errorf("%d are held still", f.held)
		}
	})
}

// TestFailuresAreBounded has a flood of failures: neither the addresses that are remembered nor the answers that wait grow with it.
func TestFailuresAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFailures()
		var flood sync.WaitGroup
		var mu sync.Mutex
		late, refused := 0, 0
		for i := range 10_000 {
			flood.Go(func() {
				ok := f.Delay(t.Context(), fmt.Sprintf("10.%d.%d.1:1000", i/250, i%250))
				mu.Lock()
				defer mu.Unlock()
				if ok {
					late++
				} else {
					refused++
				}
			})
		}
		flood.Wait()
		if late != mostHeld || refused != 10_000-mostHeld {
			t.Errorf("%d answers were held and %d refused, want %d held", late, refused, mostHeld)
		}
		if len(f.places) > mostPlaces {
			t.Errorf("%d addresses are remembered, want at most %d", len(f.places), mostPlaces)
		}
		here := 0
		for range 100 {
			flood.Go(func() {
				if f.Delay(t.Context(), "192.0.2.9:1") {
					mu.Lock()
					here++
					mu.Unlock()
				}
			})
		}
		flood.Wait()
		if here != mostHeldHere {
			t.Errorf("%d answers to one address were held, want %d", here, mostHeldHere)
		}
	})
}

func TestPlacesOfAddresses(t *testing.T) {
	t.Parallel()
	for remote, same := range map[string]string{
		"192.0.2.1:1":          "192.0.2.1:2",
		"[2001:db8::1]:1":      "[2001:db8::ffff:1]:9",
		"[::ffff:192.0.2.7]:1": "192.0.2.7:1",
		"[fe80::1%eth0]:1":     "[fe80::2%eth1]:1",
		"@":                    "",
	} {
		if a, b := placeOf(remote), placeOf(same); a != b {
			t.Errorf("%s is at %v, and %s at %v", remote, a, same, b)
		}
	}
	if placeOf("192.0.2.1:1") == placeOf("192.0.2.2:1") {
		t.Error("two addresses are one place")
	}
}
