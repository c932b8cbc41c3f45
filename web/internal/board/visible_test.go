package board

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestWhatIsNotSeenIsMadeVisible(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"plain text stays":       {"a < b\n\tc é 漢 👩‍👩‍👧 שלום", "a < b\n\tc é 漢 👩‍👩‍👧 שלום"},
		"escape sequences":       {"\x1b[31m", "␛[31m"},
		"a carriage return":      {"a\rb", "a␍b"},
		"a null":                 {"\x00", "␀"},
		"delete and C1":          {"\x7f\u0085", "[U+007F][U+0085]"},
		"right to left override": {"\u202egpj", "[U+202E]gpj"},
		"isolates and marks":     {"\u2066\u2069\u200f\u061c", "[U+2066][U+2069][U+200F][U+061C]"},
		"no width":               {"\u200b\ufeff\u00ad\u2060", "[U+200B][U+FEFF][U+00AD][U+2060]"},
		"line separators":        {"\u2028\u2029", "[U+2028][U+2029]"},
		"tags":                   {"\U000e0041", "[U+E0041]"},
		"no UTF-8":               {"\xff\xc3", "\ufffd\ufffd"},
	} {
		if got := string(visible([]byte(c.in))); got != c.want {
			t.Errorf("%s: %q becomes %q, want %q", name, c.in, got, c.want)
		}
	}
}

func FuzzVisible(f *testing.F) {
	f.Add("<p>\u202e\x1b\xff</p>")
	f.Fuzz(func(t *testing.T, in string) {
		out := string(visible([]byte(in)))
		if strings.ContainsFunc(out, func(r rune) bool { return deceptive(r) && r != '\n' && r != '\t' }) {
			t.Errorf("%q still has something to hide in %q", in, out)
		}
		if again := string(visible([]byte(out))); again != out {
			t.Errorf("%q becomes %q, and then %q", in, out, again)
		}
	})
}

func TestNumbersAsPeopleReadThem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ got, want string }{
		"thousands":        {thousands(1234567), "1,234,567"},
		"few":              {thousands(12), "12"},
		"below zero":       {thousands(-1234), "−1,234"},
		"compact":          {compact(1_000_000), "1.00 M"},
		"compact and full": {compact(99_999), "99,999"},
		"bytes":            {byteSize(1536), "1.5 kB"},
		"microseconds":     {seconds(0.00025), "250 µs"},
		"milliseconds":     {seconds(0.041), "41 ms"},
		"seconds":          {seconds(3.2), "3.2 s"},
		"minutes":          {seconds(185), "3 min 5 s"},
		"hours":            {seconds(7500), "2 h 5 min"},
		"days":             {seconds(3 * 86400), "3 d"},
		"share":            {percent(0.0004), "< 0.1 %"},
		"larger share":     {percent(0.35), "35 %"},
		"a moment":         {ago(time.Now().Add(-3 * time.Minute)), "3 min ago"},
		"later":            {ago(time.Now().Add(2*time.Hour + time.Second)), "in 2 h"},
		"never":            {ago(time.Time{}), "–"},
		"long error":       {firstLine(strings.Repeat("é", 200) + "\nmore"), strings.Repeat("é", 110) + "…"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", name, c.got, c.want)
		}
	}
}

func TestChartsBreakWhereNothingIsKnown(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	got := line(series{Values: []float64{1, nan, 2, 2, nan}, Area: true}, 2, 40, 10)
	if want := "M0 5h5M20 0L30 0"; got.Path != want {
		t.Errorf("the path is %q, want %q", got.Path, want)
	}
	if want := "M0 5L0 10L0 10ZM20 0L30 0L30 10L20 10Z"; got.Area != want {
		t.Errorf("the area is %q, want %q", got.Area, want)
	}
	for v, want := range map[float64]float64{0: 2, 1: 2, 3: 4, 11: 20, 2200: 3000, 0.3: 0.3, 9.5: 10, 101: 200} {
		if limit := niceLimit(v); math.Abs(limit-want) > 1e-9 {
			t.Errorf("the limit for %v is %v, want %v", v, limit, want)
		}
	}
}
