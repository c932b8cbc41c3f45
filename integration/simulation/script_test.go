package simulation

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // EVALSHA names a script by its SHA-1
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/alicebob/miniredis/v2/server"
	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

// engine runs scripts. It does what miniredis would, in one state for all: to make a new one for each call takes miniredis longer
// than the calls do. One script runs at a time.
type engine struct {
	server *server.Server
	state  *lua.LState
	known  map[string]bool // by SHA-1: what SCRIPT FLUSH has not taken
	peer   *server.Peer    // of the commands of scripts
	said   bytes.Buffer
	writer *bufio.Writer
}

// What lives longer than a seed. Seeds come one after the other.
var (
	luaState = newLuaState()
	compiled = make(map[string]*lua.FunctionProto) // by SHA-1
)

func newLuaState() *lua.LState {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString, lua.MathLibName: lua.OpenMath,
	} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	return state
}

func newEngine(srv *server.Server) *engine {
	e := &engine{server: srv, state: luaState, known: make(map[string]bool)}
	e.writer = bufio.NewWriter(&e.said)
	e.peer = server.NewPeer(e.writer)
	redis := e.state.NewTable()
	redis.RawSetString("call", e.state.NewFunction(func(l *lua.LState) int { return e.call(l, true) }))
	redis.RawSetString("pcall", e.state.NewFunction(func(l *lua.LState) int { return e.call(l, false) }))
	redis.RawSetString("error_reply", e.state.NewFunction(func(l *lua.LState) int { return reply(l, "err", l.CheckString(1)) }))
	redis.RawSetString("status_reply", e.state.NewFunction(func(l *lua.LState) int { return reply(l, "ok", l.CheckString(1)) }))
	e.state.SetGlobal("redis", redis)
	return e
}

func reply(l *lua.LState, kind, text string) int {
	t := l.NewTable()
	t.RawSetString(kind, lua.LString(text))
	l.Push(t)
	return 1
}

// do runs EVAL, EVALSHA and SCRIPT; false for any other command.
func (e *engine) do(command []string) (answer string, ok bool) {
	switch command[0] {
	case "eval":
		sum := sha1.Sum([]byte(command[1])) //nolint:gosec // see the import
		sha := hex.EncodeToString(sum[:])
		if compiled[sha] == nil {
			if err := compile(sha, command[1]); err != nil {
				return "-ERR Error compiling script (new function): " + line(err.Error()), true
			}
		}
		e.known[sha] = true
		return e.run(sha, command[2:]), true
	case "evalsha":
		if !e.known[command[1]] {
			return "-NOSCRIPT No matching script. Please use EVAL.\r\n", true
		}
		return e.run(command[1], command[2:]), true
	case "script":
		if strings.EqualFold(command[1], "flush") {
			clear(e.known)
			return "+OK\r\n", true
		}
	}
	return "", false
}

func compile(sha, text string) error {
	if strings.HasPrefix(text, "#!") { // says when a script may run, and is no Lua
		text = "--" + text
	}
	chunk, err := parse.Parse(strings.NewReader(text), "script")
	if err != nil {
		return err
	}
	compiled[sha], err = lua.Compile(chunk, "script")
	return err
}

// run calls a script that is compiled.
func (e *engine) run(sha string, args []string) string {
	n, err := strconv.Atoi(args[0])
	if err != nil || n > len(args)-1 {
		return "-ERR value is not an integer or out of range\r\n"
	}
	l := e.state
	l.SetGlobal("KEYS", array(l, args[1:1+n]))
	l.SetGlobal("ARGV", array(l, args[1+n:]))
	l.Push(l.NewFunctionFromProto(compiled[sha]))
	if err := l.PCall(0, 1, nil); err != nil {
		text := err.Error()
		var raised *lua.ApiError
		if errors.As(err, &raised) && raised.Object != nil {
			text = raised.Object.String()
		}
		if first, _, _ := strings.Cut(text, " "); first != strings.ToUpper(first) {
			text = "ERR " + text
		}
		return "-" + line(text)
	}
	value := l.Get(-1)
	l.Pop(1)
	return string(encode(nil, value))
}

// line makes a text one line of the protocol.
func line(text string) string {
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(text) + "\r\n"
}

func array(l *lua.LState, texts []string) *lua.LTable {
	t := l.CreateTable(len(texts), 0)
	for _, text := range texts {
		t.Append(lua.LString(text))
	}
	return t
}

// call is redis.call, and redis.pcall where an error is not raised.
func (e *engine) call(l *lua.LState, raise bool) int {
	args := make([]string, l.GetTop())
	for i := range args {
		args[i] = l.Get(i + 1).String()
	}
	e.server.Dispatch(e.peer, args)
	_ = e.writer.Flush() // into memory
	value, _, failure := decode(l, e.said.Bytes())
	e.said.Reset()
	if failure != "" && raise {
		l.Error(lua.LString(failure), 0)
	}
	l.Push(value)
	return 1
}

// decode makes a value of Lua of an answer.
func decode(l *lua.LState, answer []byte) (value lua.LValue, rest []byte, failure string) {
	end := bytes.Index(answer, []byte("\r\n"))
	if end < 0 {
		panic(fmt.Sprintf("an answer of miniredis is %q", answer))
	}
	text, rest := string(answer[1:end]), answer[end+2:]
	switch answer[0] {
	case '+', '-':
		t, kind := l.NewTable(), "ok"
		if answer[0] == '-' {
			kind, failure = "err", text
		}
		t.RawSetString(kind, lua.LString(text))
		return t, rest, failure
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		panic(fmt.Sprintf("an answer of miniredis is %q", answer))
	case answer[0] == ':':
		return lua.LNumber(n), rest, ""
	case n < 0:
		return lua.LFalse, rest, ""
	case answer[0] == '$':
		return lua.LString(rest[:n]), rest[n+2:], ""
	}
	t := l.CreateTable(int(n), 0)
	for range n {
		value, rest, _ = decode(l, rest)
		t.Append(value)
	}
	return t, rest, ""
}

// encode makes an answer of what a script returns.
func encode(b []byte, value lua.LValue) []byte {
	switch v := value.(type) {
	case lua.LNumber:
		return append(strconv.AppendInt(append(b, ':'), int64(v), 10), "\r\n"...)
	case lua.LString:
		return bulk(b, string(v))
	case lua.LBool:
		if v {
			return append(b, ":1\r\n"...)
		}
	case *lua.LTable:
		if failure := v.RawGetString("err"); failure != lua.LNil {
			return append(append(b, '-'), line(failure.String())...)
		}
		if status := v.RawGetString("ok"); status != lua.LNil {
			return append(append(b, '+'), line(status.String())...)
		}
		var items []byte
		n := 0
		for ; v.RawGetInt(n+1) != lua.LNil; n++ {
			items = encode(items, v.RawGetInt(n+1))
		}
		b = append(strconv.AppendInt(append(b, '*'), int64(n), 10), "\r\n"...)
		return slices.Concat(b, items)
	}
	return append(b, "$-1\r\n"...)
}

func bulk(b []byte, text string) []byte {
	b = append(strconv.AppendInt(append(b, '$'), int64(len(text)), 10), "\r\n"...)
	return append(append(b, text...), "\r\n"...)
}
