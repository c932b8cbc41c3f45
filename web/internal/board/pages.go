package board

import "github.com/athoune/worker-machine/web/internal/guard"

// allPages are the addresses that people look at, by the names of their templates.
func (b *board) allPages() map[string]page {
	functions := "templates/functions.html"
	trend := "templates/trend.html"
	tasks := "templates/tasks.html"
	return map[string]page{
		"overview": {path: "/{$}", nav: "overview", role: guard.Read, live: true, load: b.overview, files: []string{trend, functions}},
		"queue":    {path: "/queues/{queue}", nav: "overview", role: guard.Read, live: true, load: b.queue, files: []string{trend, functions, tasks}},
		"empty":    {path: "/queues/{queue}/purge", nav: "overview", role: guard.Admin, load: b.confirmPurge},
		"task":     {path: "/queues/{queue}/tasks/{id}", nav: "overview", role: guard.Read, load: b.task},
		"workers":  {path: "/workers", nav: "workers", role: guard.Read, live: true, load: b.workers},
		"worker":   {path: "/queues/{queue}/workers/{name}", nav: "workers", role: guard.Read, live: true, load: b.worker, files: []string{tasks}},
		"dead":     {path: "/dead", nav: "dead", role: guard.Read, load: b.dead},
		"confirm":  {path: "/dead/confirm", nav: "dead", role: guard.Operate, load: b.confirmLetters},
		"bulk":     {path: "/bulk/{id}", nav: "dead", role: guard.Operate, live: true, load: b.bulk},
		"runs":     {path: "/runs", nav: "runs", role: guard.Read, live: true, load: b.runs},
		"run":      {path: "/queues/{queue}/runs/{id}", nav: "runs", role: guard.Read, live: true, load: b.run},
		"batches":  {path: "/batches", nav: "batches", role: guard.Read, live: true, load: b.batches},
		"doctor":   {path: "/doctor", nav: "doctor", role: guard.Read, load: b.doctor},
		"login":    {path: "/login", open: true, load: b.loginPage},
	}
}
