package stream

import (
	"bufio"
	"crypto/rand"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// ids makes the IDs of this process; each is above the one before.
var ids = struct {
	sync.Mutex
	entropy *ulid.MonotonicEntropy
}{entropy: newEntropy()}

func newEntropy() *ulid.MonotonicEntropy { return ulid.Monotonic(bufio.NewReader(rand.Reader), 0) }

// NewID makes a ULID, 26 characters: unique everywhere, and above every one this process made before. It is safe for concurrent use.
func NewID() string {
	ids.Lock()
	defer ids.Unlock()
	now := ulid.Timestamp(time.Now())
	id, err := ulid.New(now, ids.entropy)
	if err != nil { // the random part ran over within one millisecond
		ids.entropy = newEntropy()
		id = ulid.MustNew(now, ids.entropy)
	}
	return id.String()
}
