package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestCallName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary := func(parts ...string) string {
		path := filepath.Join(append([]string{dir}, parts...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef-d"
	here, spaced, other := binary("bin", "worker-machine"), binary("my bin", "worker-machine"), binary("other", "worker-machine")
	temporary, kept := binary("x", "b001", "exe", "worker-machine"), binary("cache", "01", hash, "worker-machine")
	for name, test := range map[string]struct{ arg0, executable, found, want string }{
		"by its path":               {here, here, "", here},
		"by a path with a blank":    {spaced, spaced, "", "'" + spaced + "'"},
		"by its name":               {"worker-machine", here, here, "worker-machine"},
		"another one is in PATH":    {"worker-machine", here, other, fromSource},
		"by a path that is another": {other, here, "", fromSource},
		"by a path that is gone":    {filepath.Join(dir, "gone"), here, "", fromSource},
		"go run":                    {temporary, temporary, other, fromSource},
		"go run from the cache":     {kept, kept, "", fromSource},
	} {
		lookPath := func(string) (string, error) {
			if test.found == "" {
				return "", errors.New("not found")
			}
			return test.found, nil
		}
		if got := callName(test.arg0, test.executable, lookPath); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
