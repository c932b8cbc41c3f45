package turn_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/athoune/worker-machine/internal/turn"
)

func TestTimeGoesOnWhileSomebodyWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lock turn.Lock
		held := 0
		done := make(chan time.Duration)
		began := time.Now()
		for range 3 {
			go func() {
				lock.Lock()
				defer lock.Unlock()
				if held++; held != 1 {
					t.Errorf("%d hold the lock", held)
				}
				<-time.After(time.Second)
				held--
				done <- time.Since(began)
			}()
		}
		for want := time.Second; want <= 3*time.Second; want += time.Second {
			if got := <-done; got != want {
				t.Errorf("a turn ended after %v, want %v", got, want)
			}
		}
	})
}
