package inspect

import (
	"errors"
	"fmt"
)

const (
	pageDefault = 50
	pageMost    = 200 // of a page, and of the tasks that one call names
	shownInput  = 60  // bytes of a bad input that an error repeats
)

var errLetterID = errors.New("the ID of a dead letter is two numbers and a dash, as lists show it")

func checkLimit(limit int) error {
	if limit < 0 || limit > pageMost {
		return fmt.Errorf("limit %d: use 1 to %d, or 0 for %d", limit, pageMost, pageDefault)
	}
	return nil
}

func clip(s string) string { return s[:min(len(s), shownInput)] }
