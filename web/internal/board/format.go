package board

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/athoune/worker-machine/inspect"
)

const none = "–" // where there is nothing to say

// thousands is a whole number with separators.
func thousands(value any) string {
	n := toInt(value)
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "−", digits[1:]
	}
	var s strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			s.WriteByte(',')
		}
		s.WriteRune(d)
	}
	return sign + s.String()
}

func toInt(value any) int64 {
	switch v := value.(type) {
	case int:
		return int64(v)
	case int64:
		return v
	case float64:
		return int64(math.Round(v))
	}
	return 0
}

// counted is a count; one that is not exact says that there may be more.
func counted(c inspect.Count) string {
	if c.Exact {
		return thousands(c.N)
	}
	return thousands(c.N) + "+"
}

// compact is a number for a place where only its size matters.
func compact(value any) string {
	n := float64(toInt(value))
	switch {
	case math.Abs(n) < 100_000:
		return thousands(value)
	case math.Abs(n) < 999_500:
		return strconv.FormatFloat(n/1e3, 'f', 0, 64) + " k"
	case math.Abs(n) < 999.5e6:
		return strconv.FormatFloat(n/1e6, 'f', 2, 64) + " M"
	default:
		return strconv.FormatFloat(n/1e9, 'f', 2, 64) + " G"
	}
}

// decimal is a number with at most one decimal.
func decimal(v float64) string {
	if v == 0 || v >= 10 {
		return thousands(v)
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
}

// byteSize is a number of bytes.
func byteSize(value any) string {
	n := float64(toInt(value))
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if n < 1000 {
			if unit == "B" {
				return strconv.Itoa(int(n)) + " B"
			}
			return strconv.FormatFloat(n, 'f', 1, 64) + " " + unit
		}
		n /= 1000
	}
	return strconv.FormatFloat(n, 'f', 1, 64) + " TB"
}

// seconds is a length of time given in seconds.
func seconds(s float64) string {
	switch {
	case s <= 0:
		return "0 s"
	case s < 0.001:
		return strconv.FormatFloat(s*1e6, 'f', 0, 64) + " µs"
	case s < 0.01:
		return strings.TrimSuffix(strconv.FormatFloat(s*1e3, 'f', 1, 64), ".0") + " ms"
	case s < 0.9995:
		return strconv.FormatFloat(s*1e3, 'f', 0, 64) + " ms"
	case s < 9.95:
		return strings.TrimSuffix(strconv.FormatFloat(s, 'f', 1, 64), ".0") + " s"
	default:
		return wholeTime(time.Duration(s * float64(time.Second)).Round(time.Second))
	}
}

// wholeTime is a length of time of seconds or more, in its two largest units.
func wholeTime(d time.Duration) string {
	const day = 24 * time.Hour
	two := func(large time.Duration, a string, small time.Duration, b string) string {
		text := fmt.Sprintf("%d %s", d/large, a)
		if rest := d % large / small; rest > 0 && d/large < 10 {
			text += fmt.Sprintf(" %d %s", rest, b)
		}
		return text
	}
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return two(time.Minute, "min", time.Second, "s")
	case d < day:
		return two(time.Hour, "h", time.Minute, "min")
	default:
		return two(day, "d", time.Hour, "h")
	}
}

func durationText(d time.Duration) string { return seconds(d.Seconds()) }

// ago is a moment as people say it.
func ago(t time.Time) string {
	if t.IsZero() {
		return none
	}
	d := time.Since(t)
	switch {
	case d <= -time.Second:
		return "in " + rough(-d)
	case d < time.Second:
		return "just now"
	default:
		return rough(d) + " ago"
	}
}

// rough is a length of time in its largest unit.
func rough(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%d h", d/time.Hour)
	default:
		return fmt.Sprintf("%d d", d/day)
	}
}

func isoTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func fullTime(t time.Time) string { return t.UTC().Format("Mon 2 Jan 2006 15:04:05.000 MST") }

// short is the end of an ID: the beginning of ULIDs that were made together is the same.
func short(id string) string {
	const enough = 10
	if len(id) <= enough+1 {
		return id
	}
	return "…" + id[len(id)-enough:]
}

// lineLimit is where the first line of an error is cut.
const lineLimit = 220

// firstLine is the first line of a text that may have many.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if len(line) <= lineLimit {
		return line
	}
	cut := lineLimit
	for cut > 0 && !utf8.RuneStart(line[cut]) {
		cut--
	}
	return line[:cut] + "…"
}

// moreThanLine tells whether a text has more than its first line shows.
func moreThanLine(text string) bool { return firstLine(text) != strings.TrimSpace(text) }

// percent is a share of one in words.
func percent(p float64) string {
	switch {
	case p == 0:
		return "0 %"
	case p < 0.001:
		return "< 0.1 %"
	case p < 0.1:
		return strings.TrimSuffix(strconv.FormatFloat(p*100, 'f', 1, 64), ".0") + " %"
	default:
		return strconv.FormatFloat(p*100, 'f', 0, 64) + " %"
	}
}

// share is part of all, 0 of nothing.
func share(part, all any) float64 {
	if a := toInt(all); a > 0 {
		return float64(toInt(part)) / float64(a)
	}
	return 0
}

// plural is a number and the word for so many.
func plural(value any, one, many string) string {
	if toInt(value) == 1 {
		return "1 " + one
	}
	return thousands(value) + " " + many
}

// sentence is an error's text as one of a page.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}

// largest sorts downwards.
func largest[T cmp.Ordered](a, b T) int { return cmp.Compare(b, a) }
