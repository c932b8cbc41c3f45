package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// lookout is an Inspector of a Redis that answered.
type lookout struct {
	*inspect.Inspector
	at *connection
}

// Close closes the connections.
func (l *lookout) Close() { l.at.Close() }

// lookAt connects, and makes sure that the named queues exist: a name with a typing error would else look like an empty queue.
func (a *app) lookAt(ctx context.Context, queues ...string) (*lookout, error) {
	target, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	l := &lookout{Inspector: inspect.New(target.store), at: target}
	if err := l.mustExist(ctx, queues); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// mustExist is an error for the first of the queues that no client and no worker has used.
func (l *lookout) mustExist(ctx context.Context, queues []string) error {
	if len(queues) == 0 {
		return nil
	}
	known, err := allQueues(ctx, l.at.store)
	if err != nil {
		return err
	}
	for _, name := range queues {
		if !slices.Contains(known, name) {
			return l.unknownQueue(name, known)
		}
	}
	return nil
}

func (l *lookout) unknownQueue(name string, known []string) error {
	text := fmt.Sprintf("there is no queue %s with the prefix %s at %s", plain.Line(name), l.at.store.Prefix(), l.at.target.Addr())
	if close := near(name, known); len(close) > 0 {
		text += "; did you mean " + strings.Join(close, " or ") + "?"
	} else {
		text += "; worker-machine queues lists those there are"
	}
	return fmt.Errorf("%s", text)
}

// queuesOr are the named queues, or all there are.
func (l *lookout) queuesOr(ctx context.Context, names []string) ([]string, error) {
	if len(names) > 0 {
		return names, nil
	}
	return allQueues(ctx, l.at.store)
}

// allQueues are the names of all queues, in order. What is no name of a queue was not put there by us.
func allQueues(ctx context.Context, store *stream.Store) ([]string, error) {
	names, err := store.Queues(ctx)
	names = slices.DeleteFunc(names, func(name string) bool { return wire.CheckName("queue", name) != nil })
	slices.Sort(names)
	return names, err
}

const (
	nearEnough = 2 // letters to change
	nearMost   = 3 // names to suggest
)

// near are the names that somebody who wrote name may have meant, the nearest first.
func near(name string, known []string) []string {
	far := map[string]int{}
	var found []string
	for _, other := range known {
		d := distance(strings.ToLower(name), strings.ToLower(other))
		if d > nearEnough && strings.HasPrefix(strings.ToLower(other), strings.ToLower(name)) {
			d = nearEnough
		}
		if d <= nearEnough && d < max(len(name), len(other)) {
			far[other] = d
			found = append(found, other)
		}
	}
	slices.SortStableFunc(found, func(a, b string) int { return far[a] - far[b] })
	return found[:min(len(found), nearMost)]
}

// distance is how many letters are to be changed, put in or taken out to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// queueNames are the queues of a command line, as arguments or with --queue.
type queueNames struct{ flag []string }

// register adds --queue.
func (q *queueNames) register(a *app, cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&q.flag, "queue", "q", nil, "a queue, as the arguments; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("queue", a.completeQueues)
	cmd.ValidArgsFunction = a.completeQueues
}

// of are the queues, each once.
func (q *queueNames) of(args []string) ([]string, error) {
	var names []string
	for _, name := range append(slices.Clone(args), q.flag...) {
		if err := wire.CheckName("queue", name); err != nil {
			return nil, usagef("%w", err)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// one is the queue, or "" without any.
func (q *queueNames) one(args []string) (string, error) {
	names, err := q.of(args)
	switch {
	case err != nil:
		return "", err
	case len(names) > 1:
		return "", usagef("one queue at a time")
	case len(names) == 0:
		return "", nil
	}
	return names[0], nil
}

// again calls show once, or that often until ctrl-C.
func (a *app) again(ctx context.Context, every time.Duration, show func() error) error {
	if every < 0 {
		return usagef("--watch: more than 0")
	}
	if every == 0 {
		return show()
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := show(); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// wipe clears the terminal before a table is shown once more.
func (a *app) wipe(every time.Duration) {
	if every > 0 && isTerminal(a.stdout) && !a.json {
		_ = a.printf("\x1b[H\x1b[2J")
	}
}

// facts writes names and values, one a line. A line without a name goes on with the value above.
func (a *app) facts(rows [][2]string) error {
	width := 0
	for _, row := range rows {
		width = max(width, len(row[0]))
	}
	for _, row := range rows {
		if row[1] == "" {
			continue
		}
		if err := a.printf("%-*s  %s\n", width, row[0], row[1]); err != nil {
			return err
		}
	}
	return nil
}

// countText is a count; one that is not exact has a plus.
func countText(c inspect.Count) string {
	if c.Exact {
		return strconv.FormatInt(c.N, 10)
	}
	return strconv.FormatInt(c.N, 10) + "+"
}

func numberText(n int64) string { return strconv.FormatInt(n, 10) }

// secondsText is ageText of seconds.
func secondsText(s float64) string { return ageText(time.Duration(s * float64(time.Second))) }

func sinceText(t time.Time) string { return plain.Since(t) }

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05.000")
}
