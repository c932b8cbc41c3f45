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
	"a pack of results":        {TaskID: taskID, Kind: wire.KindPack, Payload: []byte("3 1500\n\x01a\x00\x02\x00\n")},
	"a pack of all kinds":      {TaskID: taskID, Kind: wire.KindPack, Payload: []byte("4 0 m\n+\x01a-\x02{}~\x00.\x00")},
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
		"a pack without a line":      {taskID, "=3 1", "starts with a line"},
		"a pack of nothing":          {taskID, "=0 1\n", "a pack of items"},
		"a pack of too many":         {taskID, "=9 1\na", "a pack of 9 items in 1 bytes"},
		"a pack of a newer kind":     {taskID, "=1 1 x\n\x00", "a pack that begins with"},
		"a pack of a strange item":   {taskID, "=1 1 m\n?\x00", "a pack that ends in an item"},
		"a pack that is cut":         {taskID, "=1 1\n\x05a", "a pack that ends in an item"},
		"a pack with a rest":         {taskID, "=1 1\n\x01ab", "a pack with more than its items"},
		"a pack of failures, bare":   {taskID, "=1 1 m\n+\x01", "a pack that ends in an item"},
		"an unknown kind":            {taskID, "?x", "starts with '+', '-', '~' or '=', not \"?\""},
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
