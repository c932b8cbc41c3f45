package board

import (
	"context"
	"fmt"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/mapreduce"
)

// runsBody lists the runs of a queue.
type runsBody struct {
	Queue  string
	Pills  part[[]pill]
	Runs   part[[]runRow]
	Hidden int
}

// runRow is a run and its two phases.
type runRow struct {
	mapreduce.RunInfo
	Class  string // of its state
	Active bool
	Map    phase
	Reduce phase
}

// phase is how far the tasks of one kind are.
type phase struct {
	Name        string
	Done, Total int
	Current     bool
}

const maxRuns = 40 // that a page lists

func newRunRow(info mapreduce.RunInfo) runRow {
	row := runRow{RunInfo: info, Class: "neutral"}
	row.Map = phase{Name: "Map", Done: info.MapsDone, Total: info.Maps, Current: info.State == mapreduce.RunMapping || info.State == mapreduce.RunOpen}
	row.Reduce = phase{Name: "Reduce", Done: info.ReducesDone, Total: info.Reduces, Current: info.State == mapreduce.RunReducing}
	row.Active = row.Map.Current || row.Reduce.Current
	switch info.State {
	case mapreduce.RunDone:
		row.Class = "good"
	case mapreduce.RunFailed:
		row.Class = "bad"
	default:
		row.Class = "active"
	}
	return row
}

func (b *board) runs(ctx context.Context, a args) (content, error) {
	var body runsBody
	body.Queue, body.Pills = b.pick(ctx, a, "runs", func(q inspect.Queue) inspect.Count { return q.Running })
	if body.Queue != "" {
		body.Runs = try(ctx, b, func(ctx context.Context) ([]runRow, error) {
			infos, err := b.look.Runs(ctx, body.Queue)
			body.Hidden = max(len(infos)-maxRuns, 0)
			var rows []runRow
			for _, info := range infos[:min(maxRuns, len(infos))] {
				rows = append(rows, newRunRow(info))
			}
			return rows, err
		})
	}
	for i := range body.Pills.V {
		body.Pills.V[i].N = "" // how many runs each has is not counted
	}
	return content{Title: "Runs", Body: body, Live: true}, nil
}

func (b *board) run(ctx context.Context, a args) (content, error) {
	infos, err := b.look.Runs(ctx, a.Get("queue"))
	if err != nil {
		return content{}, err
	}
	for _, info := range infos {
		if info.ID == a.Get("id") {
			row := newRunRow(info)
			return content{Title: "Run of " + info.Job, Body: row, Live: row.Active}, nil
		}
	}
	return content{}, fmt.Errorf("board: run %s: %w", a.Get("id"), inspect.ErrNotFound)
}
