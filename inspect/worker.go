package inspect

import (
	"context"
	"time"
)

// Worker is one worker of a queue, alive or dead with tasks left.
type Worker struct {
	Name        string    `json:"worker"`
	Queue       string    `json:"queue"`
	Alive       bool      `json:"alive"` // it has a lease
	Host        string    `json:"host,omitempty"`
	PID         int       `json:"pid,omitempty"`
	Version     string    `json:"version,omitempty"`
	Started     time.Time `json:"started,omitzero"`
	Concurrency int       `json:"concurrency,omitempty"`
	Functions   []string  `json:"functions,omitempty"`
	Queues      []string  `json:"queues,omitempty"` // all that it reads
	Pending     int64     `json:"pending"`          // entries it has: those that run, and those it fetched ahead
	Idle        float64   `json:"idle_seconds"`     // since it last asked for tasks
	LeaseLeft   float64   `json:"lease_left_seconds"`
	Tasks       []Task    `json:"tasks,omitempty"` // of [Inspector.Worker], and the oldest one of [Inspector.Workers]
}

// WorkerPage is a part of the workers of a queue.
type WorkerPage struct {
	Workers []Worker `json:"workers"`
	Next    string   `json:"next,omitempty"` // for [Inspector.Workers]; "" at the end
	Total   Count    `json:"total"`
}

// Workers lists the workers of a queue by name, at most 40 from after on.
func (i *Inspector) Workers(ctx context.Context, queue, after string) (WorkerPage, error) {
	return WorkerPage{}, errNotYet
}

// Worker looks at one worker, with up to 40 of its tasks, the oldest first. It is ErrNotFound when there is none of that name.
func (i *Inspector) Worker(ctx context.Context, queue, name string) (Worker, error) {
	return Worker{}, errNotYet
}
