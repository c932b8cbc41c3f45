package guard

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func token(n int) string { return fmt.Sprintf("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG%d", n) }

func TestKeysFile(t *testing.T) {
	t.Parallel()
	good := token(1)
	for name, c := range map[string]struct {
		text string
		want string // of the error, "" for none
		keys int
	}{
		"a colon":                       {"operate:" + good, "", 1},
		"a blank":                       {"read  " + good, "", 1},
		"a tab, comments, empty lines":  {"# people\n\nadmin\t" + good + "\n  # more\n", "", 1},
		"carriage returns":              {"read:" + good + "\r\nadmin:" + token(2) + "\r\n", "", 2},
		"nothing":                       {"\n# none\n", "no key", 0},
		"a role nobody has":             {"root:" + good, "line 1: unknown role", 0},
		"a token alone":                 {good, "line 1: write role:token", 0},
		"a short token":                 {"\nread:hunter2", "line 2: the token has 7 characters", 0},
		"a token of one character":      {"read:" + strings.Repeat("a", 64), "not random", 0},
		"a token with a blank":          {"read:" + good + " x", "without blanks", 0},
		"a token that is no ASCII":      {"read:" + good + "ü", "ASCII", 0},
		"a token twice":                 {"read:" + good + "\nadmin:" + good, "line 2: this token is there twice", 0},
		"all mistakes are told at once": {"root:x\nread:y", "line 2", 0},
		"a very long line":              {"read:" + strings.Repeat("ab", 1<<17), "too long", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys, err := ParseKeys(strings.NewReader(c.text))
			if len(keys) != c.keys || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %d keys and %v, want %d and %q", len(keys), err, c.keys, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), good) || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("the error holds a token: %v", err)
			}
		})
	}
}

func TestTokensAreRandomAndLong(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		text := NewToken()
		if len(text) != 43 || seen[text] {
			t.Fatalf("token %q: want 43 characters that were never there before", text)
		}
		seen[text] = true
		if _, err := NewKey(Read, text); err != nil {
			t.Fatalf("our own token is refused: %v", err)
		}
	}
}

func TestKeysDoNotPrintTheirTokens(t *testing.T) {
	t.Parallel()
	key, err := NewKey(Admin, token(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, key); text != "key of admin" {
			t.Errorf("%s prints %q", format, text)
		}
	}
}

// TestTokensAreComparedInConstantTime holds the one place where tokens are compared to what it must do, which no clock can show
// reliably: the same work for every token, by sums of equal length, through crypto/subtle.
func TestTokensAreComparedInConstantTime(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("key.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, found := strings.Cut(string(source), "func find(")
	body, _, ended := strings.Cut(body, "\n}\n")
	if !found || !ended {
		t.Fatal("key.go has no function find")
	}
	if !strings.Contains(body, "subtle.ConstantTimeCompare(sum[:], keys[i].sum[:])") {
		t.Error("find does not compare sums by subtle.ConstantTimeCompare")
	}
	if strings.Contains(body, "return found, true") || strings.Contains(body, "break") || strings.Count(body, "return") != 1 {
		t.Error("find stops at a key that fits")
	}
	keys := []Key{mustKey(t, Read, token(1)), mustKey(t, Admin, token(2))}
	for text, want := range map[string]Role{token(1): Read, token(2): Admin, token(3): Nobody, "": Nobody, token(1) + "x": Nobody} {
		if key, ok := find(keys, text); key.Role() != want || ok != (want != Nobody) {
			t.Errorf("token %q is of %v, %t; want %v", text, key, ok, want)
		}
	}
}

func mustKey(t *testing.T, role Role, text string) Key {
	t.Helper()
	key, err := NewKey(role, text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSessions(t *testing.T) {
	t.Parallel()
	one, two := mustKey(t, Operate, token(1)), mustKey(t, Admin, token(2))
	now := time.Unix(1_900_000_000, 0)
	value := newSession(one, now.Add(time.Hour))
	flipped := []byte(value)
	flipped[3] ^= 1
	promoted := mustKey(t, Admin, token(1)) // the same token with another role
	for name, c := range map[string]struct {
		keys  []Key
		value string
		now   time.Time
		want  Role
	}{
		"the key is there":                    {[]Key{two, one}, value, now, Operate},
		"another replica with the same keys":  {[]Key{mustKey(t, Operate, token(1))}, value, now, Operate},
		"one second before its end":           {[]Key{one}, value, now.Add(time.Hour - time.Second), Operate},
		"at its end":                          {[]Key{one}, value, now.Add(time.Hour), Nobody},
		"the key is gone":                     {[]Key{two}, value, now, Nobody},
		"the key has another role now":        {[]Key{promoted}, value, now, Nobody},
		"changed by a bit":                    {[]Key{one, two}, string(flipped), now, Nobody},
		"empty":                               {[]Key{one}, "", now, Nobody},
		"too long":                            {[]Key{one}, value + "AAAA", now, Nobody},
		"no base64":                           {[]Key{one}, strings.Repeat("!", len(value)), now, Nobody},
		"a signature by nobody":               {[]Key{one}, strings.Repeat("A", len(value)), now, Nobody},
		"no keys at all, whatever is in it":   {nil, value, now, Nobody},
		"the last letter spelled another way": {[]Key{one}, respell(value), now, Nobody},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if key, ok := openSession(c.keys, c.value, c.now); (ok && key.Role() != c.want) || ok != (c.want != Nobody) {
				t.Errorf("got %v, %t; want %v", key, ok, c.want)
			}
		})
	}
}

// respell changes only bits that base64 does not use.
func respell(value string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(letters, value[len(value)-1])
	return value[:len(value)-1] + string(letters[last^1])
}
