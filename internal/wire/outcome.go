package wire

import (
	"encoding/json"
	"fmt"
)

// Kind is the first byte of an outcome's text.
type Kind byte

// The kinds of text a reply stream carries for a task.
const (
	KindResult  Kind = '+' // the rest is the result
	KindFailure Kind = '-' // the rest is a [Failure] as JSON
	KindMoved   Kind = '~' // no outcome yet: the task waits in `due`, or has a new entry ID
	KindPack    Kind = '=' // the rest is a [Pack]: what became of the items of a chunk
	KindNone    Kind = '.' // in a pack only: nothing is told of this item here
)

// MovedDue is the Entry of a moved task that waits in `due`.
const MovedDue = "due"

// Reasons of failures and dead letters.
const (
	ReasonFailed    = "failed"           // its attempts are used up
	ReasonDropped   = "dropped"          // its handler gave it up
	ReasonUnknown   = "unknown function" // no worker that got it knew the function
	ReasonMalformed = "malformed"        // no task of ours, or its payload is not what the function takes
	ReasonNewer     = "newer version"    // written by a newer version
	ReasonCrash     = "crash loop"       // it killed three workers, the last while it ran alone
	ReasonCancelled = "cancelled"        // somebody cancelled it, or its caller left before it started
	ReasonTooLarge  = "result too large" // its result is above the worker's cap
)

// Failure is why a task ended without a result.
type Failure struct {
	Function string `json:"function"`
	Attempt  int    `json:"attempt"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
}

// Outcome is what one task ended with, or, as [KindMoved], where it went.
type Outcome struct {
	TaskID  string
	Kind    Kind
	Payload []byte  // of KindResult; of KindPack all that follows the kind
	Failure Failure // of KindFailure
	Entry   string  // of KindMoved: the new entry ID, or [MovedDue]
	Pack    *Pack   // of KindPack
}

// Encode is the failure as outcomes and packs carry it.
func (f *Failure) Encode() []byte {
	text, err := json.Marshal(f)
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	return text
}

// DecodeFailure reads what [Failure.Encode] wrote; it returns a [*MalformedError] for anything else.
func DecodeFailure(text []byte) (f Failure, err error) {
	if err := json.Unmarshal(text, &f); err != nil {
		return Failure{}, &MalformedError{Why: "a failure that is no JSON: " + err.Error()}
	}
	return f, nil
}

// Encode is the outcome as a reply stream carries it: the kind, then the result, the failure or the place.
func (o *Outcome) Encode() string {
	switch o.Kind {
	case KindResult:
		return string(KindResult) + string(o.Payload)
	case KindMoved:
		return string(KindMoved) + o.Entry
	case KindFailure:
		return string(KindFailure) + string(o.Failure.Encode())
	case KindPack:
		return string(KindPack) + string(o.Payload)
	default:
		panic(fmt.Sprintf("wire: encode outcome of %s: kind %q", o.TaskID, o.Kind))
	}
}

// DecodeOutcome reads what [Outcome.Encode] wrote; it returns a [*MalformedError] for anything else.
func DecodeOutcome(taskID, text string) (Outcome, error) {
	if !isULID(taskID) {
		return Outcome{}, &MalformedError{Why: "an outcome's field must be a task ID"}
	}
	if text == "" {
		return Outcome{}, &MalformedError{Why: "an empty outcome"}
	}
	o := Outcome{TaskID: taskID, Kind: Kind(text[0])}
	switch rest := text[1:]; o.Kind {
	case KindResult:
		o.Payload = []byte(rest)
	case KindMoved:
		o.Entry = rest
	case KindFailure:
		failure, err := DecodeFailure([]byte(rest))
		if err != nil {
			return Outcome{}, err
		}
		o.Failure = failure
	case KindPack:
		o.Payload = []byte(rest)
		pack, err := decodePack(o.Payload)
		if err != nil {
			return Outcome{}, err
		}
		o.Pack = &pack
	default:
		return Outcome{}, &MalformedError{Why: fmt.Sprintf("an outcome starts with '+', '-', '~' or '=', not %q", text[:1])}
	}
	return o, nil
}
