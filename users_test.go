package workermachine_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// TestUsersOfDeploySuffice starts a server with the users of deploy/redis: each may do its work, and nothing beyond it.
func TestUsersOfDeploySuffice(t *testing.T) {
	t.Parallel()
	text := readFile(t, "deploy/redis/users.acl")
	var users []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		users = append(users, words[1])
		if words[1] == "worker" {
			rights := strings.Fields(strings.Join(blocks(readFile(t, "PROTOCOL.md"), "acl"), " "))
			if got := words[4:]; !slices.Equal(got, rights) {
				t.Errorf("the rights of worker are not those of PROTOCOL.md:\n%s\n%s", got, rights)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "users.acl")
	ok(t, os.WriteFile(path, []byte(strings.ReplaceAll(text, "user default off resetchannels -@all", "user default on nopass ~* &* +@all")), 0o600))
	server := redistest.Start(t, "--aclfile", path) // but for the default user, which this test and its server need
	admin := server.Client(t)
	as := map[string]*redis.Client{}
	for _, user := range users {
		as[user] = redis.NewClient(&redis.Options{Network: server.Network, Addr: server.Addr, Username: user, Password: "CHANGE-ME-" + user})
		t.Cleanup(func() { _ = as[user].Close() })
	}
	everythingBy(t, as["client"], as["worker"])
	store, err := stream.NewStore(as["client"], stream.Config{})
	ok(t, err)
	t.Cleanup(func() { _ = store.Close() })
	operate(t, inspect.New(store))
	readOnly, err := stream.NewStore(as["dashboard"], stream.Config{})
	ok(t, err)
	t.Cleanup(func() { _ = readOnly.Close() })
	lookAtAll(t, inspect.New(readOnly))
	checkRefusals(t, admin)

	for user, forbidden := range map[string][][]any{
		"client": {{"xreadgroup", "group", "workers", "me", "streams", "wm:{web}:tasks", ">"}, {"xclaim", "wm:{web}:tasks", "workers", "me", "0", "1-1"}, {"get", "other"}},
		"dashboard": {
			{"xadd", "wm:{web}:tasks", "*", "v1", "x"},
			{"set", "wm:x", "1"},
			{"del", "wm:{web}:tasks"},
			{"get", "other"},
			{"eval", "return redis.call('DEL', KEYS[1])", "1", "wm:{web}:tasks"},
			{"publish", "wm:{web}:control", "pause"},
			{"flushall"},
			{"config", "get", "*"},
		},
	} {
		for _, command := range forbidden {
			err := as[user].Do(t.Context(), command...).Err()
			if err == nil || !redis.HasErrorPrefix(err, "NOPERM") && !strings.Contains(err.Error(), "user executing the script can't") {
				t.Errorf("%s: %v: got %v, want a refusal for want of rights", user, command, err)
			}
		}
	}
}

// lookAtAll makes each call of an Inspector that only looks.
func lookAtAll(t *testing.T, look *inspect.Inspector) {
	t.Helper()
	ctx := t.Context()
	_, err := look.Queues(ctx)
	ok(t, err)
	_, err = look.Workers(ctx, "web", "")
	ok(t, err)
	for _, state := range []inspect.State{inspect.Waiting, inspect.Running, inspect.Delayed, inspect.Dead} {
		_, err = look.Tasks(ctx, "web", inspect.Filter{State: state})
		ok(t, err)
	}
	if _, err = look.Task(ctx, "web", stream.NewID()); err == nil {
		t.Error("found a task that is nowhere")
	}
	_, err = look.Letters(ctx, "web", inspect.LetterFilter{})
	ok(t, err)
	_, _, err = look.LetterGroups(ctx, "web")
	ok(t, err)
	_, _, err = look.Batches(ctx, "web")
	ok(t, err)
	_, err = look.Runs(ctx, "web")
	ok(t, err)
	_, err = look.Trend(ctx, "web", 10)
	ok(t, err)
}

// operate makes each call of an Inspector that changes things.
func operate(t *testing.T, look *inspect.Inspector) {
	t.Helper()
	ctx := t.Context()
	ok(t, look.Pause(ctx, "web"))
	ok(t, look.Resume(ctx, "web"))
	_, err := look.Cancel(ctx, "web", stream.NewID())
	ok(t, err)
	_, err = look.Retry(ctx, "web", stream.NewID())
	ok(t, err)
	_, err = look.Delete(ctx, "web", stream.NewID())
	ok(t, err)
	_, err = look.Replay(ctx, "web", inspect.LetterFilter{}, nil)
	ok(t, err)
	for _, state := range []inspect.State{inspect.Waiting, inspect.Delayed, inspect.Dead} {
		_, err = look.Purge(ctx, "web", state, nil)
		ok(t, err)
	}
}
