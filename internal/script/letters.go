package script

import (
	"context"

	"github.com/athoune/worker-machine/internal/wire"
)

var (
	switchScript  = load("switch")
	lettersScript = load("letters")
)

// Switch pauses a queue, or lets it go on; it reports whether that changed anything.
func (r *Runner) Switch(ctx context.Context, keys wire.Keys, pause bool) (bool, error) {
	verb := "resume"
	if pause {
		verb = "pause"
	}
	answer, err := r.run(ctx, switchScript, []string{keys.State(), keys.Control()}, []any{verb})
	return number(answer) == 1, err
}

// LetterQuery is one page of [Runner.LetterIDs] and the like. What is empty chooses any.
type LetterQuery struct {
	Newest     bool   // first; then Start is above End
	Start, End string // as XRANGE takes them
	Look, Find int    // most letters to look at, and to find
	Reason     string
	Function   string
	Group      string
	Tasks      []string
}

// LetterLook is what a page was.
type LetterLook struct {
	Last   string // ID of the last letter looked at; "" when there was none
	Looked int
	Bytes  int // of those, payloads included
}

// StoredLetter is a dead letter as it lies there.
type StoredLetter struct {
	ID     string
	Size   int      // of the payload
	Fields []string // names and values, with 4 kB of the payload
}

// LetterGroup is dead letters that are alike.
type LetterGroup struct {
	ID, Function, Reason, Error string // Error is the start of the newest one
	N                           int
	Newest, Oldest              string
}

// LetterIDs finds dead letters.
func (r *Runner) LetterIDs(ctx context.Context, keys wire.Keys, q *LetterQuery) (LetterLook, []string, error) {
	look, rows, err := r.letters(ctx, keys, q, "ids")
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = text(row)
	}
	return look, ids, err
}

// Letters finds dead letters, and reads them.
func (r *Runner) Letters(ctx context.Context, keys wire.Keys, q *LetterQuery) (LetterLook, []StoredLetter, error) {
	look, rows, err := r.letters(ctx, keys, q, "letters")
	letters := make([]StoredLetter, 0, len(rows))
	for _, row := range rows {
		values, err := list(lettersScript, row, 3)
		if err != nil {
			return look, nil, err
		}
		letters = append(letters, StoredLetter{ID: text(values[0]), Size: number(values[1]), Fields: texts(values[2])})
	}
	return look, letters, err
}

// LetterGroups groups dead letters; q looks at the newest first.
func (r *Runner) LetterGroups(ctx context.Context, keys wire.Keys, q *LetterQuery) (LetterLook, []LetterGroup, error) {
	look, rows, err := r.letters(ctx, keys, q, "groups")
	groups := make([]LetterGroup, 0, len(rows))
	for _, row := range rows {
		v, err := list(lettersScript, row, 7)
		if err != nil {
			return look, nil, err
		}
		groups = append(groups, LetterGroup{
			ID: text(v[0]), Function: text(v[1]), Reason: text(v[2]), Error: text(v[3]), N: number(v[4]), Newest: text(v[5]), Oldest: text(v[6]),
		})
	}
	return look, groups, err
}

func (r *Runner) letters(ctx context.Context, keys wire.Keys, q *LetterQuery, what string) (LetterLook, []any, error) {
	order := "old"
	if q.Newest {
		order = "new"
	}
	args := make([]any, 0, 9+len(q.Tasks))
	args = append(args, order, q.Start, q.End, q.Look, q.Find, what, q.Reason, q.Function, q.Group)
	for _, id := range q.Tasks {
		args = append(args, id)
	}
	answer, err := r.run(ctx, lettersScript, []string{keys.Dead()}, args)
	if err != nil {
		return LetterLook{}, nil, err
	}
	values, err := list(lettersScript, answer, 3)
	if err != nil {
		return LetterLook{}, nil, err
	}
	return LetterLook{Last: text(values[0]), Looked: number(values[1]), Bytes: number(values[2])}, values[3:], nil
}

func texts(v any) []string {
	values, _ := v.([]any)
	all := make([]string, len(values))
	for i, value := range values {
		all[i] = text(value)
	}
	return all
}
