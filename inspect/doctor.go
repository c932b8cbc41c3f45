package inspect

import (
	"context"
	"fmt"

	"github.com/athoune/worker-machine/internal/wire"
)

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

// queuesExamined bounds one call of Doctor.
const queuesExamined = 200

// Doctor checks the server, and the named queues or all of them, of these at most 200. Its error is that of a server which does not answer.
// It changes nothing. It costs the server some 25 commands and each queue 75 at most, however long that is: where a queue has more than is read,
// Found says how much was looked at.
func (i *Inspector) Doctor(ctx context.Context, queues ...string) ([]Check, error) {
	for _, queue := range queues {
		if err := wire.CheckName("queue", queue); err != nil {
			return nil, fmt.Errorf("inspect: doctor: %w", err)
		}
	}
	checks, err := i.examineServers(ctx)
	if err != nil {
		return nil, fmt.Errorf("inspect: doctor: %w", err)
	}
	if len(queues) == 0 {
		all, err := i.names(ctx)
		if err != nil {
			if !answered(err) {
				return nil, fmt.Errorf("inspect: doctor: %w", err)
			}
			checks = append(checks, Check{
				Name: "redis.queues", Grade: Unknown, Found: "the names of the queues cannot be read: " + err.Error(),
				Remedy: "name the queues: worker-machine doctor QUEUE...",
			})
		}
		if len(all) > queuesExamined {
			checks = append(checks, Check{
				Name: "redis.queues", Grade: Unknown,
				Found:  fmt.Sprintf("%d queues; only the first %d are looked at", len(all), queuesExamined),
				Remedy: "name the others: worker-machine doctor QUEUE...",
			})
			all = all[:queuesExamined]
		}
		queues = all
	}
	for _, queue := range queues {
		some, err := i.examineQueue(ctx, queue)
		if err != nil {
			return nil, fmt.Errorf("inspect: doctor: look at queue %s: %w", queue, err)
		}
		checks = append(checks, some...)
	}
	return checks, nil
}
