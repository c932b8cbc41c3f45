// Package mutant takes one mechanism of the protocol away, for tests of the tests: a suite that claims to find lost or doubled tasks has to
// find those that a missing mechanism loses or doubles. No program is ever built with its tags; without one all constants are false, and what
// they guard is compiled away.
//
//	go test -tags mutant_gate ./group/...
//
// A build takes one tag: two of them do not compile.
package mutant

// Each constant is true where its mechanism is off, which takes the build tag beside it.
const (
	// Sequence (mutant_sequence): storing believes what the client says of its lane, so that a call that is made again stores again.
	Sequence = off == "sequence"

	// Gate (mutant_gate): whoever comes second for an entry ends its task a second time.
	Gate = off == "gate"

	// Lease (mutant_lease): no worker is found dead, neither by its lease nor by its presence.
	Lease = off == "lease"

	// Reconcile (mutant_reconcile): a worker never reads its own history, neither after a lost reply nor when counts differ.
	Reconcile = off == "reconcile"

	// Audit (mutant_audit): nobody searches for entries that were delivered and are in no pending list.
	Audit = off == "audit"

	// Replay (mutant_replay): sessions store nothing again.
	Replay = off == "replay"
)
