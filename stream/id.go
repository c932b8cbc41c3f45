package stream

import (
	"bufio"
	"crypto/rand"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// entropyAt is where the random part of a ULID begins.
const entropyAt = 6

// ids makes the IDs of this process; each is above the one before.
var ids = struct {
	sync.Mutex
	entropy *ulid.MonotonicEntropy
	last    ulid.ULID
}{entropy: newEntropy()}

func newEntropy() *ulid.MonotonicEntropy { return ulid.Monotonic(bufio.NewReader(rand.Reader), 0) }

// NewID makes a ULID, 26 characters: unique everywhere, and above every one this process made before. It is safe for concurrent use.
func NewID() string {
	ids.Lock()
	defer ids.Unlock()
	now := ulid.Timestamp(time.Now())
	_ = ids.last.SetTime(now)                                        // in range until the year 10889
	if ids.entropy.MonotonicRead(now, ids.last[entropyAt:]) != nil { // the random part ran over within one millisecond
		ids.entropy = newEntropy()
		_ = ids.entropy.MonotonicRead(now, ids.last[entropyAt:]) // crypto/rand never fails
	}
	return ids.last.String()
}

// NewChunkID makes a ULID whose lowest 16 bits are zero, for a chunk: those of its items follow it, and none that [NewID] makes falls
// among them. Unlike those it is not above every one made before. It is safe for concurrent use.
func NewChunkID() string {
	var id ulid.ULID
	_ = id.SetTime(ulid.Timestamp(time.Now()))        // in range until the year 10889
	const numbers = 2                                 // bytes that hold the numbers of items
	_, _ = rand.Read(id[entropyAt : len(id)-numbers]) // it never fails
	return id.String()
}
