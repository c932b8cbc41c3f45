package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// halt says when a map ends before its inputs do, as --halt of GNU parallel.
type halt struct {
	soon    bool    // what was taken in is awaited
	count   int     // of failures; 0: percent counts
	percent float64 // of the inputs that ended
}

// haltAtLeast is how many failures it takes before a percentage counts: the first input that fails is 100 % of those that ended.
const haltAtLeast = 3

// haltError is the end of a map by --halt.
type haltError struct {
	policy        string
	failed, ended int
}

// Error says how many failed.
func (e *haltError) Error() string {
	return fmt.Sprintf("stopped by --halt %s: %d of %d inputs failed", e.policy, e.failed, e.ended)
}

// parseHalt reads never, soon, now, and the latter two with ,fail=N or ,fail=X%. Of never it is nil.
func parseHalt(text string) (*halt, error) {
	when, condition, conditional := strings.Cut(text, ",")
	switch {
	case when == "never" && !conditional:
		return nil, nil
	case when != "soon" && when != "now":
		return nil, usagef("--halt %q: write never, soon or now, the latter two with ,fail=N or ,fail=X%% if not the first failure ends it", text)
	case !conditional:
		return &halt{soon: when == "soon", count: 1}, nil
	}
	value, isFail := strings.CutPrefix(condition, "fail=")
	if !isFail {
		return nil, usagef("--halt %q: after the comma only fail=N and fail=X%% are possible", text)
	}
	h := &halt{soon: when == "soon"}
	if err := h.parseFail(value); err != nil {
		return nil, usagef("--halt %q: %w", text, err)
	}
	return h, nil
}

// parseFail reads N or X%.
func (h *halt) parseFail(value string) (err error) {
	if share, isShare := strings.CutSuffix(value, "%"); isShare {
		if h.percent, err = strconv.ParseFloat(share, 64); err != nil || !(h.percent > 0 && h.percent <= 100) {
			return errors.New("a percentage is above 0 and at most 100")
		}
		return nil
	}
	if h.count, err = strconv.Atoi(value); err != nil || h.count < 1 {
		return errors.New("the number of failures is 1 or more")
	}
	return nil
}

// reached tells whether so many failures are the end.
func (h *halt) reached(failed, ended int) bool {
	switch {
	case h == nil:
		return false
	case h.count > 0:
		return failed >= h.count
	}
	return failed >= haltAtLeast && float64(failed)*100 >= h.percent*float64(ended)
}
