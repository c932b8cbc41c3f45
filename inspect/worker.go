package inspect

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
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

const (
	workersListed = 25 // with a lease and a task for each, a page stays well below 100 commands
	workerTasks   = 40
)

// Workers lists the workers of a queue by name, 25 at most from after on.
func (i *Inspector) Workers(ctx context.Context, queue, after string) (WorkerPage, error) {
	err := wire.CheckName("queue", queue)
	if err == nil && after != "" {
		err = wire.CheckName("worker", after)
	}
	var found script.ConsumerPage
	if err == nil {
		found, err = i.consumers(ctx, queue, script.ConsumerQuery{After: after, Limit: workersListed})
	}
	if err != nil {
		return WorkerPage{}, fmt.Errorf("inspect: list workers of queue %s: %w", clip(queue), err)
	}
	page := WorkerPage{Total: exactly(int64(found.Total)), Workers: make([]Worker, len(found.Consumers))}
	for n := range found.Consumers {
		page.Workers[n] = newWorker(queue, &found.Consumers[n], found.Now)
	}
	if found.More {
		page.Next = page.Workers[len(page.Workers)-1].Name
	}
	return page, nil
}

// Worker looks at one worker, with up to 40 of its tasks, the oldest first. It is ErrNotFound when there is none of that name.
func (i *Inspector) Worker(ctx context.Context, queue, name string) (Worker, error) {
	worker, err := i.worker(ctx, queue, name)
	if err != nil {
		return Worker{}, fmt.Errorf("inspect: look at worker %s of queue %s: %w", clip(name), clip(queue), err)
	}
	return worker, nil
}

func (i *Inspector) worker(ctx context.Context, queue, name string) (Worker, error) {
	filter := Filter{State: Running, Worker: name, Limit: workerTasks}
	if _, err := filter.check(queue); err != nil {
		return Worker{}, err
	}
	if name == "" || name == wire.ReleasedConsumer {
		return Worker{}, ErrNotFound
	}
	found, err := i.consumers(ctx, queue, script.ConsumerQuery{Name: name, Limit: 1})
	if err != nil {
		return Worker{}, err
	}
	if len(found.Consumers) == 0 {
		return Worker{}, ErrNotFound
	}
	worker := newWorker(queue, &found.Consumers[0], found.Now)
	list, err := i.list(ctx, queue, filter, "")
	if err != nil {
		return Worker{}, err
	}
	worker.Tasks = make([]Task, len(list.Rows))
	for n := range list.Rows {
		worker.Tasks[n] = rowTask(queue, Running, &list.Rows[n], list.Now)
	}
	return worker, nil
}

func (i *Inspector) consumers(ctx context.Context, queue string, q script.ConsumerQuery) (script.ConsumerPage, error) {
	found, err := i.store.Scripts().Consumers(ctx, i.store.Keys(queue), i.store.Group(), q)
	if err != nil {
		return found, i.explain(ctx, err, queue)
	}
	return found, nil
}

// nameParts are those of the name of a worker, which says where it runs also when its lease is gone.
var nameParts = regexp.MustCompile(`^(.+)-(\d{1,10})-[0-9A-HJKMNP-TV-Z]{26}$`)

func newWorker(queue string, c *script.Consumer, now time.Time) Worker {
	info := wire.DecodeLeaseInfo(c.Lease)
	w := Worker{
		Name: c.Name, Queue: queue, Alive: c.Lease != "", Pending: c.Pending, Idle: c.Idle.Seconds(), LeaseLeft: max(c.Left, 0).Seconds(),
		Host: info.Host, PID: info.PID, Version: info.Version, Concurrency: info.Concurrency, Functions: info.Functions, Queues: info.Queues,
	}
	if info.Started > 0 {
		w.Started = time.UnixMilli(info.Started)
	}
	if parts := nameParts.FindStringSubmatch(c.Name); parts != nil && w.Host == "" {
		w.Host = parts[1]
		w.PID, _ = strconv.Atoi(parts[2]) // of at most ten digits
	}
	if c.Oldest != nil {
		w.Tasks = []Task{rowTask(queue, Running, c.Oldest, now)}
	}
	return w
}
