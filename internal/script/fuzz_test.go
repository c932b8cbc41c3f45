package script_test

import (
	"context"
	"crypto/sha1"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/mutant"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// FuzzScripts calls every script on a real server as the library calls it, but for arguments, types and contents of keys that somebody spoiled.
// Whatever they are: the server answers, soon, and a script that fails has changed nothing.
func FuzzScripts(f *testing.F) {
	v := newVictim(f)
	for i := range v.calls {
		f.Add(uint16(i), []byte{}, "")
		for op := range byte(spoilings) {
			f.Add(uint16(i), []byte{op, byte(i), byte(3 * i)}, "x")
		}
	}
	f.Fuzz(func(t *testing.T, which uint16, spoil []byte, text string) {
		if len(spoil) > 12 || len(text) > 1<<16 {
			return
		}
		v.try(t, v.calls[int(which)%len(v.calls)].spoiled(spoil, text))
	})
}

// recorded is a call of a script, and what Redis held before it: name, ms it has left, and dump of each key.
type recorded struct {
	name, sha  string
	keys, args []string
	state      []any
	spoils     [][]any // commands that spoil the state
}

// victim is a server, and the calls that are made of it.
type victim struct {
	rdb    *redis.Client
	server *redistest.Server
	calls  []recorded
}

const (
	stateOf = `local keys, answer = redis.call('KEYS', '*'), {}
table.sort(keys)
for _, key in ipairs(keys) do
  for _, v in ipairs({key, redis.call('PTTL', key), redis.call('DUMP', key)}) do answer[#answer + 1] = v end
end
return answer`
	restore = `local old = redis.call('KEYS', '*')
for _, key in ipairs(old) do redis.call('DEL', key) end
for i = 1, #ARGV, 3 do redis.call('RESTORE', ARGV[i], math.max(0, tonumber(ARGV[i + 1])), ARGV[i + 2]) end
return #old`
	sumOf = `local keys, sums = redis.call('KEYS', '*'), {}
table.sort(keys)
for i, key in ipairs(keys) do sums[i] = key .. ' ' .. redis.call('PEXPIRETIME', key) .. ' ' .. redis.sha1hex(redis.call('DUMP', key)) end
return sums`
)

// newVictim takes tasks, runs and checkpoints through their lives once, and keeps each call of a script that this made.
func newVictim(f *testing.F) *victim {
	f.Helper()
	server := redistest.Start(f)
	recorder := &recorder{rdb: server.Client(f), names: make(map[string]string)}
	files, err := filepath.Glob("lua/*.lua")
	if err != nil || len(files) == 0 {
		f.Fatal("no scripts", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".lua")
		sum := sha1.Sum([]byte(mutant.Script(name, string(data))))
		recorder.names[hex.EncodeToString(sum[:])] = name
	}
	rdb := server.Client(f)
	rdb.AddHook(recorder)
	q := &queue{rdb: rdb, server: server, Runner: script.NewRunner(rdb), keys: wire.NewKeys("wm", "q"), next: 1}
	q.everything(f)
	for sha, name := range recorder.names {
		if !slices.ContainsFunc(recorder.calls, func(c recorded) bool { return c.sha == sha }) {
			f.Errorf("%s was not called; add a call to everything", name)
		}
	}
	// No retries: what takes long is to be seen, and nothing may run twice.
	patient := server.Client(f, func(o *redis.Options) { o.MaxRetries, o.ReadTimeout = -1, 20*time.Second })
	return &victim{rdb: patient, server: server, calls: recorder.calls}
}

// try makes a call, twice when it takes long: the machine may have had something else to do.
func (v *victim) try(t *testing.T, c recorded) {
	t.Helper()
	const soon = time.Second
	took, wrong := v.once(t.Context(), c)
	if took > soon {
		if took, _ = v.once(t.Context(), c); took > soon {
			wrong = append(wrong, fmt.Sprint("takes ", took))
		}
	}
	if len(wrong) > 0 {
		t.Errorf("%s %s\n%s", c.name, strings.Join(wrong, "\n"), c)
	}
}

// once makes a call on the state that it was made on, and returns what was wrong about it.
func (v *victim) once(ctx context.Context, c recorded) (took time.Duration, wrong []string) {
	pipe := v.rdb.Pipeline()
	began := time.Now()
	reset := pipe.Eval(ctx, restore, nil, c.state...)
	for _, command := range c.spoils {
		pipe.Do(ctx, command...) // may fail: a key is not of the type
	}
	before := pipe.Eval(ctx, sumOf, nil)
	call := pipe.Do(ctx, c.command()...)
	after := pipe.Eval(ctx, sumOf, nil)
	pong := pipe.Ping(ctx)
	_, _ = pipe.Exec(ctx) // each command has its own error
	took = time.Since(began)
	if err := errors.Join(reset.Err(), before.Err(), after.Err(), pong.Err()); err != nil {
		return took, []string{"gets no answer: " + err.Error(), v.server.LogTail()}
	}
	if err := call.Err(); err == nil || errors.Is(err, redis.Nil) {
		return took, nil
	}
	was, is := before.Val().([]any), after.Val().([]any)
	for _, line := range is {
		if !slices.Contains(was, line) {
			wrong = append(wrong, fmt.Sprintf("fails (%v) and has changed %v", call.Err(), line))
		}
	}
	if len(is) < len(was) {
		wrong = append(wrong, fmt.Sprintf("fails (%v) and has removed %d keys", call.Err(), len(was)-len(is)))
	}
	return took, wrong
}

func (c *recorded) command() []any {
	command := []any{"evalsha", c.sha, len(c.keys)}
	for _, value := range slices.Concat(c.keys, c.args) {
		command = append(command, value)
	}
	return command
}

// String is the call as a person may type it.
func (c recorded) String() string {
	const most = 300
	var b strings.Builder
	for _, command := range c.spoils {
		fmt.Fprintf(&b, "  %.*q\n", most, command)
	}
	fmt.Fprintf(&b, "  KEYS %q\n  ARGV", c.keys)
	for _, arg := range c.args {
		fmt.Fprintf(&b, " %.*q", most, arg)
	}
	return b.String()
}

// recorder is a hook of a client that keeps the first calls of each script.
type recorder struct {
	rdb   *redis.Client // another one
	names map[string]string
	calls []recorded
}

// DialHook changes nothing.
func (*recorder) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook keeps a call.
func (r *recorder) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		err := r.keep(ctx, command)
		return errors.Join(err, next(ctx, command))
	}
}

// ProcessPipelineHook keeps calls.
func (r *recorder) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		err := r.keep(ctx, commands...)
		return errors.Join(err, next(ctx, commands))
	}
}

func (r *recorder) keep(ctx context.Context, commands ...redis.Cmder) error {
	const most = 8 // of one script: enough for its ways
	for _, command := range commands {
		if command.Name() != "evalsha" {
			continue
		}
		args := make([]string, 0, len(command.Args()))
		for _, arg := range command.Args() {
			args = append(args, textOf(arg))
		}
		c := recorded{sha: args[1], name: r.names[args[1]]}
		var n int
		if _, err := fmt.Sscan(args[2], &n); err != nil || c.name == "" {
			return fmt.Errorf("a call of something else: %q", args)
		}
		c.keys, c.args = args[3:3+n], args[3+n:]
		same := 0
		for _, other := range r.calls {
			if other.sha == c.sha {
				same++
			}
		}
		if same >= most {
			continue
		}
		state, err := r.rdb.Eval(ctx, stateOf, nil).Slice()
		if err != nil {
			return err
		}
		c.state = state
		r.calls = append(r.calls, c)
	}
	return nil
}

// textOf is an argument as the server gets it.
func textOf(arg any) string {
	switch v := arg.(type) {
	case []byte:
		return string(v)
	case *string:
		return *v
	case encoding.BinaryMarshaler:
		data, _ := v.MarshalBinary()
		return string(data)
	default:
		return fmt.Sprint(v)
	}
}
