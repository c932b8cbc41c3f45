package plain_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"abc":                  "abc",
		"":                     "",
		"é 世界":                 "é 世界",
		"a\nb\tc":              `a\nb\tc`,
		"\x1b[31mred\x1b[0m":   `\x1b[31mred\x1b[0m`,
		"\xff\x00":             `\xff\x00`,
		"right\u202eleft":      `right\u202eleft`,
		"c1 \u009b31m":         `c1 \u009b31m`,
		"real \uFFFD is shown": "real \uFFFD is shown",
	} {
		if got := plain.Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"abcd":                     "abcd",
		"abcde":                    "abc…",
		"a\x1bb":                   `a\x…`,
		strings.Repeat("x", 1<<20): "xxx…",
		"ééééé":                    "ééé…",
	} {
		if got := plain.Short(in, 4); got != want {
			t.Errorf("Short(%.10q) = %q, want %q", in, got, want)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a\n\tb":                                "a\n\tb",
		"\x1b[1;31mred\x1b[0m":                  "red",
		"\x1b]0;title\x07x":                     "x",
		"\x1b]8;;http://a\x1b\\y\x1b]8;;\x1b\\": "y",
		"\x1bcreset":                            "reset",
		"10%\r20%\r\ndone":                      "10%\n20%\ndone",
		"nul\x00bell\x07":                       "nulbell",
		"bad \xff byte":                         "bad \uFFFD byte",
		"end \x1b":                              "end ",
	} {
		if got := plain.Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzNothingToObey(f *testing.F) {
	f.Add("\x1b[31m\u202e\xff")
	f.Fuzz(func(t *testing.T, in string) {
		for _, r := range plain.Line(in) {
			if !unicode.IsPrint(r) {
				t.Errorf("Line(%q) holds %q", in, r)
			}
		}
		for _, r := range plain.Text(in) {
			if unicode.IsControl(r) && r != '\n' && r != '\t' {
				t.Errorf("Text(%q) holds %q", in, r)
			}
		}
	})
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	err := plain.Table(&b, []string{"queue", "backlog", "state"}, [][]string{{"web", "5", "ok"}, {"très", "12000", ""}, {"x", "-", "ok"}})
	want := "queue  backlog  state\nweb          5  ok\ntrès     12000\nx            -  ok\n"
	if err != nil || b.String() != want {
		t.Errorf("got\n%s%v, want\n%s", b.String(), err, want)
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 4 << 20: "4.0 MiB", 1 << 50: "1024.0 TiB"} {
		if got := plain.Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}
