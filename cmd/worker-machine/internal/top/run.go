package top

import (
	"context"
	"errors"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"
)

// Terminal is where a program runs.
type Terminal struct {
	In    io.Reader
	Out   io.Writer
	Env   []string      // TERM, COLORTERM, NO_COLOR
	Where string        // the Redis, for people
	Every time.Duration // how often to look; default a second
}

// Run shows what a source sees until the person quits or ctx ends.
func Run(ctx context.Context, source Source, t Terminal) error {
	if t.Every <= 0 {
		t.Every = time.Second
	}
	program := tea.NewProgram(newModel(ctx, source, t.Where, t.Every), tea.WithContext(ctx), tea.WithInput(t.In), tea.WithOutput(t.Out),
		tea.WithEnvironment(t.Env), tea.WithoutSignalHandler())
	if _, err := program.Run(); !errors.Is(err, tea.ErrProgramKilled) || ctx.Err() == nil {
		return err
	}
	return nil // a signal ended it
}
