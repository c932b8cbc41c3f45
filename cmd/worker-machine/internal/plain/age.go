package plain

import (
	"fmt"
	"strconv"
	"time"
)

// Age is a duration with two units at most: 0.2s, 42s, 5m10s, 3h2m, 12d4h; and - for none.
func Age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d <= 0:
		return "-"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// Since is Age of the time since t, and never of less than nothing: clocks differ.
func Since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return Age(max(time.Since(t), time.Millisecond))
}

// Number is n in five characters at most: 9999, 12.3k, 4.0M.
func Number(n int64) string {
	const short, step = 10_000, 1000
	if n < short {
		return strconv.FormatInt(n, 10)
	}
	value, unit := float64(n)/step, 0
	for value >= 999.5 && unit < len("kMGTP")-1 {
		value /= step
		unit++
	}
	if value >= 99.95 {
		return fmt.Sprintf("%.0f%c", value, "kMGTP"[unit])
	}
	return fmt.Sprintf("%.1f%c", value, "kMGTP"[unit])
}

// Took is a handler's time with three digits: 850µs, 12.3ms, 1.20s.
func Took(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d <= 0:
		return "-"
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%.3gms", seconds*1000)
	case d < time.Minute:
		return fmt.Sprintf("%.3gs", seconds)
	}
	return Age(d)
}
