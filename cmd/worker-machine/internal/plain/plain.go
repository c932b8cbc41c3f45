// Package plain makes text of strangers safe to print on a terminal, and prints tables.
//
//	fmt.Fprintln(w, plain.Line(payload))   // one line, control characters escaped
//	message := plain.Text(stderr)          // several lines, colours and control characters removed
//	plain.Table(w, []string{"queue", "backlog"}, [][]string{{"web", "12"}})
//
// A payload or an error comes from another machine: a terminal that obeyed the sequences in it would let whoever wrote the
// task move the cursor, rename the window or worse.
package plain

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns text as one line: what does not print is written as Go writes it, \n or \x1b.
func Line(text string) string {
	if isPlain(text) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			quoted := strconv.Quote(text[i : i+1])
			b.WriteString(quoted[1 : len(quoted)-1])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] >= 0x7f {
			return false
		}
	}
	return true
}

// Short is Line cut to at most limit characters, with … where something is left out.
func Short(text string, limit int) string {
	cut := text
	if len(cut) > limit*utf8.UTFMax { // not to escape a megabyte for 80 characters
		cut = cut[:limit*utf8.UTFMax]
	}
	line := []rune(Line(cut))
	if len(line) <= limit && len(cut) == len(text) {
		return string(line)
	}
	return string(line[:min(len(line), max(limit-1, 0))]) + "…"
}

// sequences are what terminals obey: CSI (colours, cursor), OSC and its like (titles, links), and two-character ones.
var sequences = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?`)

// Text returns text with its lines and tabs, without terminal sequences and other control characters, and with U+FFFD in place
// of what is not UTF-8.
func Text(text string) string {
	text = sequences.ReplaceAllString(strings.ToValidUTF8(text, "\uFFFD"), "")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == ' ':
			return r
		case r == '\r':
			return '\n' // progress bars: each state becomes a line
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, text)
}
