package wire_test

import (
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/wire"
)

func TestNamesAndPrefixes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text         string
		name, prefix bool
	}{
		"one letter":               {"a", true, true},
		"all that is allowed":      {"aZ09._-", true, true},
		"a colon":                  {"app:wm", false, true},
		"empty":                    {"", false, false},
		"a dot first":              {".a", false, false},
		"a colon first":            {":a", false, false},
		"a brace, for a hash tag":  {"a}b{c", false, false},
		"a star, for a pattern":    {"a*", false, false},
		"a space":                  {"a b", false, false},
		"a line end at the end":    {"a\n", false, false},
		"a letter beyond ASCII":    {"é", false, false},
		"a null byte":              {"a\x00", false, false},
		"64 letters":               {strings.Repeat("a", 64), true, true},
		"65 letters":               {strings.Repeat("a", 65), true, false},
		"128 letters":              {strings.Repeat("a", 128), true, false},
		"129 letters":              {strings.Repeat("a", 129), false, false},
		"a path out of the folder": {"../etc", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := wire.CheckName("queue", c.text); (err == nil) != c.name {
				t.Errorf("CheckName(%q): got %v, want allowed %v", c.text, err, c.name)
			} else if err != nil && (!strings.HasPrefix(err.Error(), "queue name ") || !strings.Contains(err.Error(), "use 1 to 128 letters")) {
				t.Errorf("CheckName(%q): %q names neither kind nor rule", c.text, err)
			}
			if err := wire.CheckPrefix(c.text); (err == nil) != c.prefix {
				t.Errorf("CheckPrefix(%q): got %v, want allowed %v", c.text, err, c.prefix)
			}
		})
	}
}

func TestAllKeysOfAQueueShareOneHashTag(t *testing.T) {
	t.Parallel()
	k := wire.NewKeys("app:wm", "web")
	for want, got := range map[string]string{
		"tasks": k.Tasks(), "due": k.Due(), "body": k.Body(), "lease:w": k.Lease("w"), "producer:l": k.Producer("l"),
		"unique:h": k.Unique("h"), "reply:r": k.Reply("r"), "context:r": k.Context("r"), "dead": k.Dead(), "crashes": k.Crashes(),
		"cancels": k.Cancels(), "state": k.State(), "counts": k.Counts(), "control": k.Control(), "presence:w": k.Presence("w"),
		"batch:b": k.Batch("b"),
	} {
		if got != "app:wm:{web}:"+want {
			t.Errorf("got %s, want app:wm:{web}:%s", got, want)
		}
	}
	if got := wire.Queues("app:wm"); got != "app:wm:queues" {
		t.Errorf("got %s, want app:wm:queues", got)
	}
}
