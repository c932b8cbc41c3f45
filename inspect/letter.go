package inspect

import (
	"context"
	"time"

	"github.com/athoune/worker-machine/reclaim"
)

// LetterFilter chooses dead letters.
type LetterFilter struct {
	Reason   string
	Function string
	Group    string // ID of a LetterGroup
	After    string // Next of the page before
	Limit    int    // default 50, at most 200
}

// LetterPage is a part of the dead letters of a queue, newest first.
type LetterPage struct {
	Letters []reclaim.DeadLetter
	Next    string
	Total   Count // of the queue
}

// Letters lists dead letters, newest first. One call looks at 5,000 at most.
func (i *Inspector) Letters(ctx context.Context, queue string, filter LetterFilter) (LetterPage, error) {
	return LetterPage{}, errNotYet
}

// LetterGroup is dead letters that failed alike: same function, reason and error, but for the numbers, IDs and addresses in it.
type LetterGroup struct {
	ID       string    `json:"group"` // hash of what they have in common
	Function string    `json:"function"`
	Reason   string    `json:"reason"`
	Error    string    `json:"error"` // of the newest
	N        int64     `json:"n"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Example  string    `json:"letter"` // ID of the newest
}

// LetterGroups groups the newest 20,000 dead letters of a queue, the largest group first. seen is how many were looked at, exact when
// that is all.
func (i *Inspector) LetterGroups(ctx context.Context, queue string) (groups []LetterGroup, seen Count, err error) {
	return nil, Count{}, errNotYet
}

// Replay puts the dead letters that the filter chooses back into their queue, all that were there when it began, and calls progress
// with how many are back so far. Limit and After of the filter have no meaning. What holds no task stays and is not counted.
func (i *Inspector) Replay(ctx context.Context, queue string, filter LetterFilter, progress func(replayed int)) (int, error) {
	return 0, errNotYet
}

// PurgeLetters removes the dead letters that the filter chooses, as Replay does.
func (i *Inspector) PurgeLetters(ctx context.Context, queue string, filter LetterFilter, progress func(purged int)) (int, error) {
	return 0, errNotYet
}
