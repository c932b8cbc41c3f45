package board

import (
	"context"
	"time"

	"github.com/athoune/worker-machine/inspect"
)

// doctorBody is what the doctor found.
type doctorBody struct {
	Checks  part[[]gradeGroup]
	Total   int
	Failed  int
	Warning int
	At      time.Time
}

// gradeGroup are the checks of one grade.
type gradeGroup struct {
	Grade  inspect.Grade
	Class  string
	Title  string
	Open   bool
	Checks []inspect.Check
}

func (b *board) doctor(ctx context.Context, _ args) (content, error) {
	groups := []gradeGroup{
		{Grade: inspect.Refused, Class: "bad", Title: "Failed", Open: true},
		{Grade: inspect.Warning, Class: "warn", Title: "Warnings", Open: true},
		{Grade: inspect.Unknown, Class: "neutral", Title: "Could not be looked at", Open: true},
		{Grade: inspect.Passed, Class: "good", Title: "Passed"},
	}
	checks := try(ctx, b, func(ctx context.Context) ([]inspect.Check, error) { return b.look.Doctor(ctx) })
	body := doctorBody{Checks: part[[]gradeGroup]{Trouble: checks.Trouble}, Total: len(checks.V), At: time.Now()}
	for _, c := range checks.V {
		for i := range groups {
			if groups[i].Grade == c.Grade {
				groups[i].Checks = append(groups[i].Checks, c)
			}
		}
	}
	body.Failed, body.Warning = len(groups[0].Checks), len(groups[1].Checks)
	for _, g := range groups {
		if len(g.Checks) > 0 {
			body.Checks.V = append(body.Checks.V, g)
		}
	}
	return content{Title: "Doctor", Body: body}, nil
}
