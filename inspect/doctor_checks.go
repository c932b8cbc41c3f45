package inspect

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// queueChecks are the checks of a queue, in the order they are told.
var queueChecks = []struct {
	name string
	look func(w *ward) (Grade, string, string)
}{
	{"group", (*ward).checkGroup},
	{"ids", (*ward).checkIDs},
	{"workers", (*ward).checkWorkers},
	{"paused", (*ward).checkPaused},
	{"waiting", (*ward).checkWaiting},
	{"functions", (*ward).checkFunctions},
	{"pending", (*ward).checkPending},
	{"consumers", (*ward).checkConsumers},
	{"ghosts", (*ward).checkGhosts},
	{"due", (*ward).checkDue},
	{"crashes", (*ward).checkCrashes},
	{"dead", (*ward).checkDead},
	{"replies", (*ward).checkReplies},
}

func (w *ward) checkGroup() (Grade, string, string) {
	last := w.seen.Delivered
	switch {
	case last == "" && w.census.Entries > 0:
		return Warning, "no worker has ever read it: there is no group " + w.group + " yet", "start a worker: worker-machine work --queue " + w.name + " --handle FUNCTION=PROGRAM, or your own"
	case last == "":
		return Passed, "no worker has read it yet, and nothing waits", ""
	case w.isFuture(last) && !w.isFuture(w.newest):
		return Refused, fmt.Sprintf("the group's last ID, %s, is far ahead: what is stored now is taken for delivered, and reaches nobody", last),
			fmt.Sprintf("redis-cli XGROUP SETID %s %s %s", w.keys.Tasks(), w.group, orZero(w.higher))
	default:
		return Passed, fmt.Sprintf("group %s, delivered up to %s", w.group, last), ""
	}
}

func orZero(id string) string {
	if id == "" {
		return "0"
	}
	return id
}

// checkIDs finds IDs that somebody gave by hand: Redis only makes higher ones.
func (w *ward) checkIDs() (Grade, string, string) {
	for _, stream := range []struct{ key, newest string }{{w.keys.Tasks(), w.newest}, {w.keys.Dead(), w.letter}} {
		if !w.isFuture(stream.newest) {
			continue
		}
		grade, found := Warning, fmt.Sprintf("%s has had an entry with the ID %s, far in the future: what is added now gets such IDs too, and no times can be read from them",
			stream.key, stream.newest)
		if strings.HasPrefix(stream.newest, "18446744073709551615-") {
			grade, found = Refused, fmt.Sprintf("%s has had an entry with the ID %s, the last one there is: nothing can be added any more", stream.key, stream.newest)
		}
		return grade, found, fmt.Sprintf("let workers empty it, or stop them; then redis-cli RENAME %s %s.old, and enqueue anew what redis-cli XRANGE %s.old - + shows",
			stream.key, stream.key, stream.key)
	}
	return Passed, "the newest IDs are of the past", ""
}

func (w *ward) checkWorkers() (Grade, string, string) {
	start := "start one: worker-machine work --queue " + w.name + " --handle FUNCTION=PROGRAM, or your own; worker-machine workers -q " + w.name + " lists them"
	slots, known := w.slots()
	switch alive := w.census.Alive; {
	case alive > 0 && known:
		return Passed, fmt.Sprintf("%s with a lease, for %d tasks at a time", plural(alive, "worker"), slots), ""
	case alive > 0:
		return Passed, plural(alive, "worker") + " with a lease", ""
	case w.waiting() > 0:
		return Refused, "no worker reads it, with " + plural(w.waiting(), "task") + " waiting", start
	case w.census.Due > 0:
		return Warning, "no worker reads it, with " + plural(w.census.Due, "task") + " due later", start
	default:
		return Passed, "no worker reads it, and nothing waits", ""
	}
}

func (w *ward) checkPaused() (Grade, string, string) {
	if !w.census.Paused {
		return Passed, "it is not paused", ""
	}
	since := ""
	if !w.pausedAt.IsZero() {
		since = ", for " + w.since(w.pausedAt)
	}
	return Warning, "it is paused" + since + ", with " + plural(w.waiting(), "task") + " waiting", "worker-machine resume " + w.name
}

func (w *ward) checkWaiting() (Grade, string, string) {
	n := w.waiting()
	if n == 0 {
		return Passed, "nothing waits", ""
	}
	if w.seen.First == "" { // handed back, or ghosts
		return Passed, plural(n, "task") + " to be taken over", ""
	}
	age := w.census.Now.Sub(entryTime(w.seen.First))
	found := fmt.Sprintf("%s waiting, the oldest, for %s, for %s", plural(n, "task"), w.seen.Function, w.since(entryTime(w.seen.First)))
	slots, known := w.slots()
	switch {
	case w.census.Paused:
		return Passed, found + ": it is paused", ""
	case w.census.Alive == 0:
		return Refused, found + ": no worker reads it", "start a worker: worker-machine work --queue " + w.name + " --handle FUNCTION=PROGRAM, or your own"
	case age < longWait:
		return Passed, found, ""
	case !known || w.census.Running >= slots:
		return Warning, fmt.Sprintf("%s: its workers have all they take, %d tasks", found, w.census.Running),
			"start more workers, or give them more slots (Config.Concurrency, --concurrency); worker-machine top shows which functions are slow"
	default:
		return Refused, fmt.Sprintf("%s, though its workers run %d tasks and take %d: they do not fetch", found, w.census.Running, slots),
			"see the logs of its workers (a lease that cannot be renewed, other queues that go first, outcomes that cannot be stored): worker-machine workers -q " + w.name
	}
}

func (w *ward) checkFunctions() (Grade, string, string) {
	if w.workers > consumersRead {
		return Unknown, fmt.Sprintf("of %d workers only %d were asked what they know", w.workers, consumersRead), "worker-machine workers -q " + w.name + " tells the functions of each"
	}
	missing := w.unknownFunctions()
	if len(missing) == 0 {
		return Passed, "the workers know the functions of the tasks that were looked at", ""
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		parts = append(parts, fmt.Sprintf("%s (%s of %d looked at)", name, plural(int64(missing[name]), "task"), len(w.seen.Waiting)))
	}
	known := map[string]bool{}
	for _, worker := range w.alive {
		for _, name := range worker.Functions {
			known[name] = true
		}
	}
	return Refused, "no worker knows " + strings.Join(parts, ", ") + "; they know " + strings.Join(slices.Sorted(maps.Keys(known)), ", "),
		"start workers that have it, before the attempts are used up; tasks that nobody wants: worker-machine tasks cancel ID -q " + w.name
}

func (w *ward) checkPending() (Grade, string, string) {
	longest := w.longest
	if longest.ID == "" {
		return Passed, "nothing runs", ""
	}
	of := "the longest"
	if w.pending == pendingRead {
		of = fmt.Sprintf("of the oldest %d the longest", pendingRead)
	}
	found := fmt.Sprintf("%s with workers, %s since %s: entry %s with %s", plural(w.census.Running, "task"), of,
		longest.Idle.Round(time.Second), longest.ID, longest.Consumer)
	if longest.Idle < longRun {
		return Passed, found, ""
	}
	return Warning, found, fmt.Sprintf("redis-cli XRANGE %s %s %s shows the task; worker-machine tasks cancel ID -q %s ends it; a Timeout ends such tasks by itself",
		w.keys.Tasks(), longest.ID, longest.ID, w.name)
}

func (w *ward) checkConsumers() (Grade, string, string) {
	of := ""
	if w.workers > consumersRead {
		of = fmt.Sprintf(" (of %d, %d were looked at)", w.workers, consumersRead)
	}
	if len(w.dead) == 0 {
		return Passed, "all that is pending is with workers that have a lease" + of, ""
	}
	pending, idle := int64(0), time.Duration(0)
	for _, c := range w.dead {
		pending += c.Pending
		idle = max(idle, c.Idle)
	}
	found := fmt.Sprintf("%s without a lease, with %s: %s", plural(int64(len(w.dead)), "worker")+of, plural(pending, "task"), w.dead[0].Name)
	switch {
	case w.census.Alive == 0:
		return Refused, found + "; no live worker is there to take them over", "start a worker: worker-machine work --queue " + w.name + " --handle FUNCTION=PROGRAM, or your own"
	case idle < longDead:
		return Warning, found + "; others take them over within seconds", "wait, and look again: worker-machine doctor " + w.name
	default:
		return Refused, fmt.Sprintf("%s, for %v, and nobody has taken them over", found, idle.Round(time.Second)),
			"see the logs of the live workers; one with free slots takes them over: start another one"
	}
}

func (w *ward) checkGhosts() (Grade, string, string) {
	of := "all that was delivered"
	if w.more {
		of = fmt.Sprintf("of what was delivered the oldest %d were looked at: all of that", w.looked)
	}
	if w.ghosts == 0 {
		return Passed, of + " is pending with somebody", ""
	}
	found := fmt.Sprintf("%s delivered and pending with nobody, as somebody's XGROUP DELCONSUMER leaves them: entry %s", plural(int64(w.ghosts), "task"), w.ghost)
	if w.more {
		found += fmt.Sprintf(" (of what was delivered the oldest %d were looked at)", w.looked)
	}
	if w.census.Alive == 0 {
		return Refused, found, "start a worker, which finds them within a minute: worker-machine work --queue " + w.name + " --handle FUNCTION=PROGRAM, or your own"
	}
	return Warning, found, "wait: a worker finds them within a minute. If they stay: redis-cli XCLAIM " +
		w.keys.Tasks() + " " + w.group + " released 0 " + w.ghost + " FORCE JUSTID"
}

func (w *ward) checkDue() (Grade, string, string) {
	late := w.census.Now.Sub(w.due)
	switch {
	case w.due.IsZero():
		return Passed, "nothing is due later", ""
	case late < longOverdue:
		return Passed, plural(w.census.Due, "task") + " due later", ""
	case w.census.Alive == 0:
		return Refused, fmt.Sprintf("tasks have been due for %v, and no worker is there", late.Round(time.Second)),
			"start a worker: worker-machine work --queue " + w.name + " --handle FUNCTION=PROGRAM, or your own"
	default:
		return Refused, fmt.Sprintf("tasks have been due for %v, though workers are there", late.Round(time.Second)), "see the logs of its workers: they cannot promote what is due"
	}
}

func (w *ward) checkCrashes() (Grade, string, string) {
	if w.crashes == 0 {
		return Passed, "no task of it was with a worker that died", ""
	}
	return Warning, plural(w.crashes, "note") + " of tasks that were with a worker when it died: after two crashes one runs alone, after the third it is a dead letter",
		"see why workers die (memory, fatal errors): redis-cli HGETALL " + w.keys.Crashes() + " counts by entry"
}

func (w *ward) checkDead() (Grade, string, string) {
	if w.census.Dead == 0 {
		return Passed, "no dead letters", ""
	}
	found := plural(w.census.Dead, "dead letter")
	if w.isFuture(w.letter) || w.census.Now.Sub(entryTime(w.letter)) > freshLetter {
		return Passed, found + ", none of the last hour", ""
	}
	return Warning, found + ", the newest " + w.since(entryTime(w.letter)) + " ago",
		"worker-machine dead groups -q " + w.name + " shows why; then worker-machine dead replay -q " + w.name + " --all, or dead purge"
}

func (w *ward) checkReplies() (Grade, string, string) {
	of := ""
	if w.left > repliesRead {
		of = fmt.Sprintf(" (of %d clients that have left, the %d that have been silent for longest were looked at)", w.left, repliesRead)
	}
	if len(w.endless) > 0 {
		return Refused, fmt.Sprintf("%s without a client, which never go away%s: %s", plural(int64(len(w.endless)), "reply stream"), of, w.endless[0]),
			"redis-cli UNLINK " + strings.Join(w.endless, " ")
	}
	if len(w.stale) > 0 {
		return Passed, plural(int64(len(w.stale)), "reply stream") + " of clients that have left, which go away by themselves" + of, ""
	}
	return Passed, "each reply stream that is known has its client" + of, ""
}
