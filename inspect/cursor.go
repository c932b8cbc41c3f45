package inspect

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
)

// ErrCursor says that the place where a page should begin is none that an earlier page of the same kind gave.
var ErrCursor = errors.New("no place where a page may begin: use Next of the page before, or begin without")

// cursors are the places that pages give: what the script list gives, after the first letter of the state.
var cursors = map[State]*regexp.Regexp{
	Waiting: regexp.MustCompile(`^w[rn](-|\(?\d{1,20}-\d{1,20})$`),
	Running: regexp.MustCompile(`^r(-|\(?\d{1,20}-\d{1,20})$`),
	Delayed: regexp.MustCompile(`^d-?[0-9.e+-]{1,40} (?s:.{1,256})$`),
	Dead:    regexp.MustCompile(`^x(\+|\(?\d{1,20}-\d{1,20})$`),
}

var cursorLetters = map[State]string{Waiting: "w", Running: "r", Delayed: "d", Dead: "x"}

// newCursor makes an opaque text of a place, "" at the end.
func newCursor(state State, place string) string {
	if place == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(cursorLetters[state] + place))
}

// readCursor is the place in a text that newCursor made for the same state.
func readCursor(state State, text string) (place string, err error) {
	valid, known := cursors[state]
	if !known {
		return "", fmt.Errorf("state %q: use %q, %q, %q or %q", clip(string(state)), Waiting, Running, Delayed, Dead)
	}
	if text == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || !valid.Match(raw) {
		return "", fmt.Errorf("after %q: %w", clip(text), ErrCursor)
	}
	return string(raw[1:]), nil
}
