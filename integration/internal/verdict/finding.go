package verdict

import (
	"fmt"
	"time"
)

// Kind says what is wrong.
type Kind string

// The kinds of findings; the comment of the package says what each is decided from.
const (
	Lost       Kind = "lost"       // acknowledged, and has no outcome
	Duplicate  Kind = "duplicate"  // has two outcomes
	Phantom    Kind = "phantom"    // ran or ended, and nobody ordered it
	Wrong      Kind = "wrong"      // has an outcome that is not its own
	Stuck      Kind = "stuck"      // lies in Redis, or is waited for, when all is over
	Silent     Kind = "silent"     // was ordered, and nobody was told what became of that
	Early      Kind = "early"      // started before it was due
	Late       Kind = "late"       // nothing was done for too long after a fault
	Disorder   Kind = "disorder"   // results out of the order that was promised
	LeftOver   Kind = "left"       // something lies about that should not
	Unfinished Kind = "unfinished" // the history ends too early to tell
)

// Kinds are all kinds of findings, the gravest first.
func Kinds() []Kind {
	return []Kind{Lost, Duplicate, Phantom, Wrong, Stuck, Silent, Early, Late, Disorder, LeftOver, Unfinished}
}

// Finding is one thing that is wrong.
type Finding struct {
	Kind    Kind   `json:"kind"`
	Number  int64  `json:"number,omitempty"`  // of the task; 0 where it is about no single one
	Process string `json:"process,omitempty"` // whose record shows it
	At      int64  `json:"at,omitempty"`      // of that record, in ns since 1970
	Text    string `json:"text"`
}

// String is the finding as one line.
func (f Finding) String() string {
	text := string(f.Kind)
	if f.Number != 0 {
		text += fmt.Sprintf(" %d", f.Number)
	}
	text += ": " + f.Text
	switch {
	case f.At != 0:
		text += fmt.Sprintf(" (%s, %s)", f.Process, time.Unix(0, f.At).UTC().Format("15:04:05.000000"))
	case f.Process != "":
		text += fmt.Sprintf(" (%s)", f.Process)
	}
	return text
}
