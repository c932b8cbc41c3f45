package board

import (
	"fmt"

	"github.com/athoune/worker-machine/inspect"
)

// When something is worth the attention of a person.
const (
	staleAfter  = 5 * 60 // seconds that the oldest task has been there
	failingFrom = 0.05   // share of the attempts of the last hour
	maxAlerts   = 8
)

// alerts say what is stuck, why, and what to do about it.
func (b *board) alerts(queues []queueRow) []alert {
	var alerts []alert
	for _, q := range queues {
		if a := b.alertOf(q); a.Text != "" {
			alerts = append(alerts, a)
		}
	}
	for _, q := range queues {
		if q.Dead.N > 0 {
			alerts = append(alerts, alert{
				Class: "bad", Text: fmt.Sprintf("%s has %s.", q.Name, pluralCount(q.Dead, "dead letter", "dead letters")),
				Remedy: "They stay until somebody replays or purges them.", URL: query(b.cfg.Base+"/dead", "queue", q.Name), Link: "Look at the errors",
			})
		}
	}
	if len(alerts) > maxAlerts {
		rest := len(alerts) - maxAlerts
		alerts = append(alerts[:maxAlerts], alert{Class: "info", Text: fmt.Sprintf("And %d more: see the table of queues.", rest)})
	}
	return alerts
}

// alertOf is the most pressing matter of a queue.
func (b *board) alertOf(q queueRow) alert {
	to := path(b.cfg.Base, "queues", q.Name)
	switch {
	case q.Workers.N == 0 && q.Waiting.N > 0:
		return alert{
			Class: "bad", Text: fmt.Sprintf("%s has %s and no worker.", q.Name, pluralCount(q.Waiting, "task", "tasks")),
			Remedy: "Start one, or see why yours have stopped:", Command: "worker-machine work --queue " + q.Name, URL: to, Link: "Look at the queue",
		}
	case q.Paused && q.Waiting.N > 0:
		return alert{
			Class: "warn", Text: fmt.Sprintf("%s is paused while %s.", q.Name, pluralCount(q.Waiting, "task waits", "tasks wait")),
			Remedy: "Workers take none until it is resumed:", Command: "worker-machine resume " + q.Name, URL: to, Link: "Look at the queue",
		}
	case q.Oldest > staleAfter && q.Waiting.N > 0:
		return alert{
			Class: "warn", Text: fmt.Sprintf("In %s the oldest task has been there for %s.", q.Name, seconds(q.Oldest)),
			Remedy: "Tasks come faster than they are done, or one hangs: add workers, or look at what runs.",
			URL:    query(to, "state", inspect.Running), Link: "Look at what runs",
		}
	case q.Fail > failingFrom:
		return alert{
			Class: "warn", Text: fmt.Sprintf("In %s %s of the attempts of the last hour failed.", q.Name, percent(q.Fail)),
			Remedy: "Failed attempts are tried again later; the errors tell why.", URL: query(to, "state", inspect.Delayed), Link: "Look at the errors",
		}
	}
	return alert{}
}

// pluralCount is a count and the word for so many.
func pluralCount(c inspect.Count, one, many string) string {
	if c.N == 1 && c.Exact {
		return "1 " + one
	}
	return counted(c) + " " + many
}
