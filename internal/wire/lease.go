package wire

import (
	"encoding/json"
	"slices"
	"strings"
)

// mostListed is how many functions, and how many queues, a lease names.
const mostListed = 50

// More stands at the end of a list that was cut.
const More = "..."

// LeaseInfo is what the lease of a worker says, for other workers and for people.
type LeaseInfo struct {
	Host        string   `json:"host"`
	PID         int      `json:"pid"`
	Version     string   `json:"version,omitempty"`     // of this module, or devel
	Started     int64    `json:"started"`               // ms, by the clock of its host
	Concurrency int      `json:"concurrency,omitempty"` // handlers at a time
	Functions   []string `json:"functions,omitempty"`   // 50 at most, in order, then [More]
	Queues      []string `json:"queues,omitempty"`      // likewise, all that it reads
	Presence    bool     `json:"presence"`              // it keeps its channel subscribed
}

// Encode is the JSON of a lease.
func (l LeaseInfo) Encode() string {
	l.Functions, l.Queues = cutList(l.Functions), cutList(l.Queues)
	text, err := json.Marshal(l)
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	return string(text)
}

// cutList is the names in order, as many as a lease takes.
func cutList(names []string) []string {
	names = slices.Sorted(slices.Values(names))
	if len(names) > mostListed {
		names = append(names[:mostListed:mostListed], More)
	}
	return names
}

// DecodeLeaseInfo reads the text of a lease key. What an older or newer version, or somebody else, wrote in another way is left out.
func DecodeLeaseInfo(text string) LeaseInfo {
	var info LeaseInfo
	_, value := ParseLease(text)
	_ = json.Unmarshal([]byte(value), &info) // what fits is taken
	return info
}

// ParseLease splits the text of a lease key: the fence, which is new each time the lease is made, and the value its worker gave.
func ParseLease(text string) (fence, value string) {
	fence, value, _ = strings.Cut(text, " ")
	return fence, value
}
