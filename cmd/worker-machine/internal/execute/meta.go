package execute

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Meta is what a program is told about its task, in WM_ variables of its environment.
type Meta struct {
	TaskID      string
	Function    string
	Queue       string
	Attempt     int
	MaxAttempts int
	Headers     map[string]string // as WM_HEADER_<NAME>
	Input       string            // the file its lines come from, when it is one
	Trace       map[string]string // the span it runs in, as TRACEPARENT and TRACESTATE
}

// environ is the environment the task adds. A NUL cannot be in a variable; it would make the start fail, so such a header is
// cut there.
func (m Meta) environ() []string {
	env := []string{
		"WM_TASK_ID=" + m.TaskID,
		"WM_FUNCTION=" + m.Function,
		"WM_QUEUE=" + m.Queue,
		"WM_ATTEMPT=" + strconv.Itoa(m.Attempt),
		"WM_MAX_ATTEMPTS=" + strconv.Itoa(m.MaxAttempts),
	}
	if m.Input != "" {
		env = append(env, "WM_INPUT="+m.Input)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Trace)) {
		env = append(env, variable(name)+"="+m.Trace[name])
	}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		value, _, _ := strings.Cut(m.Headers[name], "\x00")
		env = append(env, "WM_HEADER_"+variable(name)+"="+value)
	}
	return env
}

// variable makes the name of an environment variable: capitals, digits and underscores.
func variable(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
}

// passed are the variables of the worker's environment that every program gets, besides those beginning with LC_. Whatever
// else is there, a REDIS_URL with a password first of all, is none of its business.
var passed = []string{"PATH", "LANG", "LANGUAGE", "TMPDIR", "TZ"}

// allowed is the part of environ that a program gets.
func allowed(environ, pass []string) []string {
	var env []string
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if slices.Contains(passed, name) || strings.HasPrefix(name, "LC_") || slices.Contains(pass, name) {
			env = append(env, pair)
		}
	}
	return env
}

// lookup finds a variable; the last one of a name counts, as for the kernel's callers.
func lookup(environ []string, name string) string {
	for _, pair := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}
