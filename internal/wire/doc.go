// Package wire is what lies in Redis: key names, task fields and outcome texts, with their version.
//
// It is pure: no I/O and no client, the standard library alone. A changed byte fails a golden test.
//
//	keys := wire.NewKeys("wm", "web")
//	task := wire.Task{ID: id, Function: "getTitle", Payload: payload}
//	fields := task.Fields()            // what XADD keys.Tasks() stores
//	task, err := wire.Decode(fields)   // what a worker reads
//	outcome, err := wire.DecodeOutcome(task.ID, text)
package wire
