// Package verdict decides from the histories of all processes of one seed whether the promises were kept.
//
//	judge := verdict.New(verdict.Config{})
//	for record, err := range history.Read(files...) {
//		...
//		judge.Hear(record)
//	}
//	report := judge.Report()
//
// A finding is a proof: where the records leave a doubt, the task is counted as excused or undecided, and nothing is found. Time and
// memory are linear: each record is looked at once, each task costs 24 bytes.
//
// # What is decided from what
//
// A task ENDED if there is an Accepted, a Result or an Outcome of its number. Data MAY BE LOST to a task if a fault with Loses overlaps the time
// from its Order on. An owner, the process that ordered a task, was KILLED if a fault says so: its name begins with "kill" and the first word of its
// text is the process. Everything at the end is decided only where the history has Settled; otherwise it is [Unfinished].
//
//   - [Lost]: Stored, not ended, and data may not be lost to it. If it was never started, and nobody asked to cancel it, that alone proves it. If it was
//     started, its worker may have been killed after Redis had recorded the outcome and before it wrote Accepted. Then the Totals of Redis tell, which are exact
//     as long as no data was lost: they say how many outcomes there are besides those that were seen, and the tasks above that number are lost. Which of
//     them is lost nobody can say, so those are named that are the likeliest: tasks that nobody started, then those whose handler did not return.
//     Also lost: a task that was to be kept, has ended and has no Outcome, if other tasks of its way have one.
//   - [Stuck]: Left names it; or its owner waits for the outcome (Call, Map, Ordered, Run), was not killed, and has been given neither Result nor Unsure. Lost
//     data is no excuse here: the owner keeps these tasks. Or the call that stores it never came back.
//   - [Silent]: the owner has ended in order, and has heard nothing at all of whether the task is stored.
//   - [Phantom]: Start, Accepted, Result or Outcome of a number that nobody ordered, or that was Refused.
//   - [Duplicate]: two Results of a number; two sure Accepted of a number, unless data may be lost to it before the second one, since it may then lie in Redis twice; or
//     Totals above the number of tasks that can have an outcome, unless data was lost.
//   - [Wrong]: a value that is not the number's, a result of a number that is dropped, a failure of one that is not. A task is cancelled rightly if
//     somebody asked for it, or if its owner waits for it and may have left; a crash loop is right if a handler of it did not return. A run may fail when data is lost.
//   - [Early]: a Start more than 2 ms before Due, unless a fault set a clock before.
//   - [Late]: for longer than the bound of a fault after its end, while no other fault was there, nothing was accepted; and a task that
//     was stored or started before that end was accepted afterwards, so there was work. What stands still for ever is lost or stuck.
//   - [Disorder]: Results of ordered inputs of one batch, as their texts name it, whose numbers do not rise.
//   - [LeftOver]: any Left record.
//
// Counted, and no finding: executions of one task that overlap, tasks that are excused, undecided, recovered (Unsure, and ended), cancelled, in a crash loop.
//
// # What is left uncertain
//
// A Forget task that is lost is not found if its worker was killed while it ran and data was lost as well (it is excused) or there are no Totals (it is counted as
// undecided). If the Totals prove that one task was recorded twice or lost, another one that did the opposite hides it; the sure Accepted, and tasks that were never started,
// do not depend on Totals. A task that was never started can have an outcome nobody heard of if it killed three workers before their first record of it and a fourth one
// was killed between burying it and writing that down; this is called lost.
package verdict
