package wire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/wire"
)

var outcomes = map[string]wire.Outcome{
	"a result":               {TaskID: taskID, Kind: wire.KindResult, Payload: []byte(`"LinuxFr"`)},
	"an empty result":        {TaskID: taskID, Kind: wire.KindResult, Payload: []byte{}},
	"a result that is bytes": {TaskID: taskID, Kind: wire.KindResult, Payload: []byte("\x00-~+\xff")},
	"a failure": {TaskID: taskID, Kind: wire.KindFailure, Failure: wire.Failure{
		Function: "getTitle", Attempt: 3, Reason: wire.ReasonFailed, Message: "status 500: \"<html>\"\n é",
	}},
	"a task that waits":        {TaskID: taskID, Kind: wire.KindMoved, Entry: wire.MovedDue},
	"a task with a new entry":  {TaskID: taskID, Kind: wire.KindMoved, Entry: "1700000000000-3"},
	"a failure without a word": {TaskID: taskID, Kind: wire.KindFailure},
}

func sameOutcome(a, b wire.Outcome) bool {
	return a.TaskID == b.TaskID && a.Kind == b.Kind && string(a.Payload) == string(b.Payload) && a.Failure == b.Failure && a.Entry == b.Entry
}

func TestOutcomesSurviveTheRoundTrip(t *testing.T) {
	t.Parallel()
	for name, o := range outcomes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := wire.DecodeOutcome(taskID, o.Encode()); err != nil || !sameOutcome(got, o) {
				t.Errorf("decode %q: got %+v, %v, want %+v", o.Encode(), got, err, o)
			}
		})
	}
}

func TestDecodeOutcomeRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ id, text, want string }{
		"a field that is no task ID": {"v", "1", "must be a task ID"},
		"an empty text":              {taskID, "", "an empty outcome"},
		"an unknown kind":            {taskID, "?x", "starts with '+', '-' or '~', not \"?\""},
		"a failure that is no JSON":  {taskID, "-{", "a failure that is no JSON"},
		"a failure of wrong types":   {taskID, `-{"attempt":"x"}`, "a failure that is no JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := wire.DecodeOutcome(c.id, c.text)
			if _, ok := errors.AsType[*wire.MalformedError](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("decode %s %q: got %v, want a MalformedError with %q", c.id, c.text, err, c.want)
			}
		})
	}
}
