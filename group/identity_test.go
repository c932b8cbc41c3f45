package group

import (
	"runtime/debug"
	"testing"
)

func TestVersionIsThatOfTheModule(t *testing.T) {
	t.Parallel()
	other := debug.Module{Path: "example.com/app", Version: "v9.9.9"}
	for name, c := range map[string]struct {
		build debug.BuildInfo
		want  string
	}{
		"a program of its own":     {debug.BuildInfo{Main: debug.Module{Path: modulePath, Version: "v1.2.3"}}, "v1.2.3"},
		"a working tree":           {debug.BuildInfo{Main: debug.Module{Path: modulePath, Version: "(devel)"}}, "devel"},
		"a dependency of another":  {debug.BuildInfo{Main: other, Deps: []*debug.Module{{Path: modulePath, Version: "v1.2.3"}}}, "v1.2.3"},
		"a replaced dependency":    {debug.BuildInfo{Main: other, Deps: []*debug.Module{{Path: modulePath, Version: "v1.2.3", Replace: &debug.Module{Path: "../x"}}}}, "devel"},
		"a build that names none":  {debug.BuildInfo{Main: other}, "devel"},
		"a build without versions": {debug.BuildInfo{Main: debug.Module{Path: modulePath}}, "devel"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := versionIn(&c.build); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
