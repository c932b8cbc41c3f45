package main

import (
	"context"
	"os"
	"os/signal"
)

// What a signal means to a supervisor.
const (
	stopSignal = iota
	rollSignal
	passSignal
)

// releaseKey finds the function by which a command takes the signals over from main.
type releaseKey struct{}

func withRelease(ctx context.Context, release func()) context.Context {
	return context.WithValue(ctx, releaseKey{}, release)
}

// takeSignals has the signals of this process go to the channel from now on. Own is false, and nothing comes, when the command does
// not run as a process of its own but in a test of many.
func (a *app) takeSignals(ctx context.Context) (signals <-chan os.Signal, own bool) {
	release, own := ctx.Value(releaseKey{}).(func())
	if !own {
		return nil, false
	}
	taken := make(chan os.Signal, 16) // more than a person or a system sends in one go
	signal.Notify(taken, supervisorSignals()...)
	release()
	return taken, true
}
