package inspect

import "context"

// Grade is how a check of [Inspector.Doctor] ended.
type Grade string

// The grades of a check.
const (
	Passed  Grade = "passed"
	Warning Grade = "warning"
	Refused Grade = "failed"  // Worker Machine does not keep its promises there
	Unknown Grade = "unknown" // this user of Redis may not look
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"check"` // stable: redis.version, redis.maxmemory-policy, queue.ghosts and so on
	Queue  string `json:"queue,omitempty"`
	Grade  Grade  `json:"grade"`
	Found  string `json:"found"`            // in words
	Remedy string `json:"remedy,omitempty"` // what to do, with the command
}

// Doctor checks the server, and the named queues or all of them. Its error is that of a server which does not answer.
func (i *Inspector) Doctor(ctx context.Context, queues ...string) ([]Check, error) {
	return nil, errNotYet
}
