package top

import (
	"github.com/athoune/worker-machine/inspect"
)

// What the lists hold, with the filter applied. They are short: a snapshot is bounded.

func (m *model) queues() (list []*Queue) {
	for i := range m.snapshot.Queues {
		if q := &m.snapshot.Queues[i]; m.passes(q.Name) {
			list = append(list, q)
		}
	}
	return list
}

func (m *model) workers() (list []*inspect.Worker) {
	for i := range m.snapshot.Workers {
		if w := &m.snapshot.Workers[i]; m.passes(w.Name, w.Queue, w.Host) {
			list = append(list, w)
		}
	}
	return list
}

func (m *model) functions() (list []*Function) {
	all := sorted(m.snapshot.Functions, m.order)
	for i := range all {
		if m.passes(all[i].Name, all[i].Queue) {
			list = append(list, &all[i])
		}
	}
	return list
}

func (m *model) groups() (list []*Group) {
	for i := range m.snapshot.Groups {
		if g := &m.snapshot.Groups[i]; m.passes(g.Queue, g.Function, g.Reason, g.Error) {
			list = append(list, g)
		}
	}
	return list
}

// rowKeys name the rows of the list that is open.
func (m *model) rowKeys() (keys []string) {
	if m.snapshot == nil {
		return nil
	}
	switch m.view {
	case workerView:
		for _, w := range m.workers() {
			keys = append(keys, w.Queue+" "+w.Name)
		}
	case functionView:
		for _, f := range m.functions() {
			keys = append(keys, f.Queue+" "+f.Name)
		}
	case deadView:
		for _, g := range m.groups() {
			keys = append(keys, g.Queue+" "+g.ID)
		}
	default:
		for _, q := range m.queues() {
			keys = append(keys, q.Name)
		}
	}
	return keys
}

// at is the selected one of a list, nil when another list is open or this one is empty.
func at[T any](m *model, of view, list func() []*T) *T {
	if m.snapshot == nil || m.view != of {
		return nil
	}
	rows := list()
	if i := m.cursor[of]; i < len(rows) {
		return rows[i]
	}
	return nil
}

func (m *model) queue() *Queue           { return at(m, queueView, m.queues) }
func (m *model) worker() *inspect.Worker { return at(m, workerView, m.workers) }
func (m *model) function() *Function     { return at(m, functionView, m.functions) }
func (m *model) group() *Group           { return at(m, deadView, m.groups) }
