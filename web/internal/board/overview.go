package board

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/athoune/worker-machine/inspect"
)

// Bounds of the overview.
const (
	trendQueues = 12 // queues whose history is read: each costs some commands
	topRows     = 6  // functions in its lists
)

// tile is a number with its name.
type tile struct {
	Label, Value, Note string
	Title              string // the number in full, where the value is rounded
	Class              string
	URL                string
}

// overviewBody is the overview.
type overviewBody struct {
	Queues   part[[]queueRow]
	Tiles    []tile
	Alerts   []alert
	Trend    part[trendBody]
	Failing  []functionRow
	Slow     []functionRow
	Attempts bool // some function did something
}

// queueRow is a queue in the table.
type queueRow struct {
	inspect.Queue
	Spark drawn
	Fail  float64 // share of the attempts of the hour that failed
	Known bool    // its history was read
}

// alert is something that a person should look at, and what to do.
type alert struct {
	Class, Text, Remedy, Command, URL, Link string
}

func (b *board) overview(ctx context.Context, _ args) (content, error) {
	queues := try(ctx, b, func(ctx context.Context) ([]inspect.Queue, error) { return b.look.Queues(ctx) })
	body := overviewBody{Queues: part[[]queueRow]{Trouble: queues.Trouble}}
	chosen := busiest(queues.V, trendQueues)
	trends, trouble := b.trends(ctx, chosen)
	var functions []functionRow
	for _, q := range queues.V {
		row := queueRow{Queue: q}
		if hour, ok := trends[q.Name]; ok {
			present(hour, q)
			row.sketch(hour)
			functions = append(functions, functionsOf(q.Name, hour)...)
		}
		body.Queues.V = append(body.Queues.V, row)
	}
	all := make([][]inspect.Minute, 0, len(chosen))
	for _, name := range chosen {
		all = append(all, trends[name])
	}
	body.Trend = part[trendBody]{V: chartsOf(sum(all)), Trouble: trouble}
	if len(queues.V) > len(chosen) {
		body.Trend.V.Note = fmt.Sprintf("Charts and functions: the %d busiest of %d queues.", len(chosen), len(queues.V))
	}
	if len(all) > 1 {
		body.Trend.V.Note = strings.TrimSpace(body.Trend.V.Note + " Latency is that of the slowest queue.")
	}
	body.Tiles = b.totalTiles(queues.V, sum(all))
	body.Alerts = b.alerts(body.Queues.V)
	body.Failing, body.Slow = topFunctions(functions)
	body.Attempts = len(functions) > 0
	return content{Title: "Overview", Body: body, Live: true}, nil
}

// sketch fills in what comes from the history of the queue.
func (row *queueRow) sketch(hour []inspect.Minute) {
	row.Known = true
	var done, failed int64
	values := make([]float64, 0, len(hour))
	for i, m := range hour {
		done, failed = done+m.Done, failed+m.Retried+m.Dead
		if i < len(hour)-1 {
			values = append(values, float64(m.Done))
		}
	}
	row.Spark = spark(values)
	row.Fail = share(failed, done+failed)
}

// busiest are the names of the queues where most happens.
func busiest(queues []inspect.Queue, n int) []string {
	sorted := slices.Clone(queues)
	weight := func(q inspect.Queue) int64 {
		return q.Recent.Done + q.Recent.Retried + q.Recent.Dead + q.Running.N + q.Waiting.N
	}
	slices.SortStableFunc(sorted, func(a, b inspect.Queue) int { return largest(weight(a), weight(b)) })
	names := make([]string, 0, n)
	for _, q := range sorted[:min(n, len(sorted))] {
		names = append(names, q.Name)
	}
	return names
}

// trends reads the hours of some queues. The trouble is that of the first one that could not be read.
func (b *board) trends(ctx context.Context, queues []string) (map[string][]inspect.Minute, *problemBody) {
	const together = 4
	var (
		mu      sync.Mutex
		trouble *problemBody
		trends  = make(map[string][]inspect.Minute, len(queues))
		free    = make(chan struct{}, together)
		reading sync.WaitGroup
	)
	for _, name := range queues {
		free <- struct{}{}
		reading.Go(func() {
			defer func() { <-free }()
			hour := try(ctx, b, func(ctx context.Context) ([]inspect.Minute, error) { return b.trendOf(ctx, name) })
			mu.Lock()
			defer mu.Unlock()
			if hour.Trouble != nil {
				trouble = cmp.Or(trouble, hour.Trouble)
				return
			}
			trends[name] = hour.V
		})
	}
	reading.Wait()
	return trends, trouble
}

// totalTiles are the numbers at the top.
func (b *board) totalTiles(queues []inspect.Queue, hour []inspect.Minute) []tile {
	var waiting, running, delayed, dead inspect.Count
	for _, c := range []*inspect.Count{&waiting, &running, &delayed, &dead} {
		c.Exact = true
	}
	var recent inspect.Minute
	for _, q := range queues {
		waiting, running = plus(waiting, q.Waiting), plus(running, q.Running)
		delayed, dead = plus(delayed, q.Delayed), plus(dead, q.Dead)
		recent = add(recent, q.Recent)
	}
	failed := recent.Retried + recent.Dead
	tiles := []tile{
		countTile("Waiting", waiting, ""), countTile("Running", running, ""), countTile("Delayed", delayed, ""),
		{Label: "Done per minute", Value: compact(recent.Done), Title: thousands(recent.Done), Note: "last full minute"},
		{Label: "Failing", Value: percent(share(failed, recent.Done+failed)), Note: plural(failed, "attempt", "attempts") + " last minute"},
		countTile("Dead letters", dead, b.cfg.Base+"/dead"),
	}
	if len(hour) > 1 {
		tiles[0].Note = change(hour, func(m inspect.Minute) int64 { return m.Waiting })
	}
	if failed > 0 {
		tiles[4].Class = "warn"
	}
	if dead.N > 0 {
		tiles[5].Class = "bad"
	}
	return tiles
}

// change says how a number is beside what it was ten minutes ago.
func change(hour []inspect.Minute, of func(inspect.Minute) int64) string {
	const back = 10
	now, then := of(hour[len(hour)-1]), of(hour[max(len(hour)-1-back, 0)])
	switch {
	case now > then:
		return "+" + compact(now-then) + " in 10 min"
	case now < then:
		return "−" + compact(then-now) + " in 10 min"
	default:
		return "as 10 min ago"
	}
}

func countTile(label string, c inspect.Count, to string) tile {
	t := tile{Label: label, Value: compact(c.N), Title: counted(c), URL: to}
	if !c.Exact {
		t.Value += "+"
	}
	return t
}

func plus(a, b inspect.Count) inspect.Count {
	return inspect.Count{N: a.N + b.N, Exact: a.Exact && b.Exact}
}

// topFunctions are those that fail most and those that take longest.
func topFunctions(rows []functionRow) (failing, slow []functionRow) {
	rankSlow(rows)
	for _, row := range rows {
		if row.Failing > 0 {
			failing = append(failing, row)
		}
		if row.Handler.N > 0 {
			slow = append(slow, row)
		}
	}
	slices.SortStableFunc(failing, func(a, b functionRow) int {
		return cmp.Or(largest(a.Retried+a.Dead, b.Retried+b.Dead), cmp.Compare(a.Name, b.Name))
	})
	slices.SortStableFunc(slow, func(a, b functionRow) int {
		return cmp.Or(largest(a.Handler.Mean, b.Handler.Mean), cmp.Compare(a.Name, b.Name))
	})
	return failing[:min(topRows, len(failing))], slow[:min(topRows, len(slow))]
}
