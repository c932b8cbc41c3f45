package plain

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
)

// JSON returns a line of JSON that means the same, with escapes in place of what does not print: control characters beyond ASCII, and
// those that turn the direction of text.
func JSON(line string) string {
	if isPlain(strings.TrimSuffix(line, "\n")) {
		return line
	}
	var b strings.Builder
	for _, r := range line {
		if r < 0x7f || unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
