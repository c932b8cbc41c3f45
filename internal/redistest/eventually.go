package redistest

import (
	"fmt"
	"testing"
	"time"
)

const pollEvery = 5 * time.Millisecond

// Eventually polls condition until it holds and fails the test when it does not within timeout. The rest is a message, or a
// format and its arguments. It is for what Redis or another process does; inside one process, wait for an event.
func Eventually(t testing.TB, timeout time.Duration, condition func() bool, msgAndArgs ...any) {
	t.Helper()
	if !Within(timeout, condition) {
		t.Fatalf("not so after %v: %s", timeout, message(msgAndArgs))
	}
}

// Within polls condition until it holds, and returns false when it does not within timeout.
func Within(timeout time.Duration, condition func() bool) bool {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	deadline := time.Now().Add(timeout)
	for !condition() {
		if time.Now().After(deadline) {
			return false
		}
		<-poll.C
	}
	return true
}

func message(msgAndArgs []any) string {
	if len(msgAndArgs) == 0 {
		return "the condition never held"
	}
	if format, ok := msgAndArgs[0].(string); ok && len(msgAndArgs) > 1 {
		return fmt.Sprintf(format, msgAndArgs[1:]...)
	}
	return fmt.Sprint(msgAndArgs...)
}
