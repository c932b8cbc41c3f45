package mapreduce

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/oklog/ulid/v2"

	"github.com/athoune/worker-machine/internal/script"
)

// The tasks of a run have IDs that are made of its own: the time of the run, a hash of its ID, and what the task is. So an outcome
// tells by the ID alone which task it is of, and an ID names the same task however often it is stored.
const (
	kindMap uint32 = iota
	kindMapCopy
	kindReduce
	kindReduceCopy

	kindShift  = 30
	numberMask = 1<<kindShift - 1
	mostSplits = numberMask

	timeBytes   = 6
	numberBytes = 4
)

// taskID is the ID of a task of a run, which must be a ULID.
func taskID(run string, kind uint32, number int) string {
	var id ulid.ULID
	if parsed, err := ulid.ParseStrict(run); err == nil {
		copy(id[:timeBytes], parsed[:timeBytes])
	}
	sum := sha256.Sum256([]byte(run))
	copy(id[timeBytes:], sum[:len(id)-timeBytes-numberBytes])
	binary.BigEndian.PutUint32(id[len(id)-numberBytes:], kind<<kindShift|uint32(number)) //nolint:gosec // at most mostSplits
	return id.String()
}

// parseTaskID tells which task of a run has an ID, if it is one of that run; a copy is of no account.
func parseTaskID(run, id string) (phase script.Phase, number int, ok bool) {
	parsed, err := ulid.ParseStrict(id)
	if err != nil {
		return "", 0, false
	}
	last := binary.BigEndian.Uint32(parsed[len(parsed)-numberBytes:])
	kind, number := last>>kindShift, int(last&numberMask)
	if taskID(run, kind, number) != id {
		return "", 0, false
	}
	switch kind {
	case kindMap:
		return script.Maps, number, true
	case kindReduce:
		return script.Reduces, number, true
	default:
		return "", 0, false
	}
}
