// Package words splits a command line into words the way a shell would, without running one.
//
//	argv, err := words.Split(`xargs -0 grep 'a b'`) // xargs, -0, grep, a b
//
// What a shell would do more than splitting (pipes, variables, substitution) is an error: a program that gets a | as an
// argument is never what its author meant.
package words

import (
	"errors"
	"fmt"
	"strings"
)

// The mistakes of a command line.
var (
	ErrUnclosed  = errors.New("a quote is not closed")
	ErrBackslash = errors.New("there is nothing after the last backslash")
)

// SpecialError is a character that means something to a shell only.
type SpecialError struct{ Char byte }

// Error names the character and says what to do.
func (e *SpecialError) Error() string {
	return fmt.Sprintf("%q means something to a shell only: put it in single quotes, or use a shell on purpose", e.Char)
}

// special is what a shell acts on outside of quotes, and specialQuoted what it acts on inside double quotes as well.
const (
	special       = "|&;<>()$`\n"
	specialQuoted = "$`"
)

// Split returns the words of line. Blanks separate words; single quotes keep everything, double quotes everything but a
// backslash before ", \, $ and `; outside of quotes a backslash keeps the next character. Patterns (*, ?, ~) stay as they are.
func Split(line string) ([]string, error) {
	var list []string
	rest := strings.TrimLeft(line, " \t")
	for rest != "" {
		word, after, err := first(rest)
		if err != nil {
			return nil, err
		}
		list, rest = append(list, word), strings.TrimLeft(after, " \t")
	}
	return list, nil
}

// first takes the first word off a line that does not begin with a blank.
func first(line string) (word, rest string, err error) {
	var b strings.Builder
	for line != "" {
		c := line[0]
		switch {
		case c == ' ' || c == '\t':
			return b.String(), line, nil
		case c == '\'':
			inside, after, closed := strings.Cut(line[1:], "'")
			if !closed {
				return "", "", ErrUnclosed
			}
			b.WriteString(inside)
			line = after
		case c == '"':
			if line, err = doubleQuoted(&b, line[1:]); err != nil {
				return "", "", err
			}
		case c == '\\':
			if len(line) == 1 {
				return "", "", ErrBackslash
			}
			b.WriteByte(line[1])
			line = line[2:]
		case strings.IndexByte(special, c) >= 0:
			return "", "", &SpecialError{Char: c}
		default:
			b.WriteByte(c)
			line = line[1:]
		}
	}
	return b.String(), "", nil
}

// doubleQuoted writes what stands before the closing quote to b and returns what stands after it.
func doubleQuoted(b *strings.Builder, line string) (string, error) {
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '"':
			return line[i+1:], nil
		case c == '\\' && i+1 < len(line) && strings.IndexByte("\"\\$`", line[i+1]) >= 0:
			i++
			b.WriteByte(line[i])
		case strings.IndexByte(specialQuoted, c) >= 0:
			return "", &SpecialError{Char: c}
		default:
			b.WriteByte(c)
		}
	}
	return "", ErrUnclosed
}
