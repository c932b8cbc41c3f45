package group

import (
	"strconv"
	"strings"
)

// entryID is a parsed ID of a stream entry.
type entryID struct{ ms, seq uint64 }

// parseEntryID reads what Redis wrote; anything else is 0-0.
func parseEntryID(text string) entryID {
	left, right, _ := strings.Cut(text, "-")
	ms, err := strconv.ParseUint(left, 10, 64)
	if err != nil {
		return entryID{}
	}
	seq, _ := strconv.ParseUint(right, 10, 64)
	return entryID{ms, seq}
}

// entryClock reads the times in IDs, many of which are the same.
type entryClock struct {
	text string
	ms   int64
}

// clockDigits is how long the text of a time is, until the year 2286.
const clockDigits = 13

func (c *entryClock) of(id string) int64 {
	if len(id) <= clockDigits || id[clockDigits] != '-' {
		return entryTime(id)
	}
	if text := id[:clockDigits]; text != c.text {
		c.text, c.ms = text, entryTime(text)
	}
	return c.ms
}

// entryTime is the time in an ID, ms.
func entryTime(text string) (ms int64) {
	for i := 0; i < len(text) && text[i] != '-'; i++ {
		ms = 10*ms + int64(text[i]-'0')
	}
	return ms
}

func (id entryID) less(other entryID) bool {
	return id.ms < other.ms || (id.ms == other.ms && id.seq < other.seq)
}

// String is the ID as Redis takes it.
func (id entryID) String() string {
	return strconv.FormatUint(id.ms, 10) + "-" + strconv.FormatUint(id.seq, 10)
}
