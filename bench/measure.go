package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// measureAll measures what is planned and not there yet, and saves it after each round of a row.
func (s settings) measureAll(ctx context.Context, all *results, p plan) error {
	for round := range s.rounds {
		for _, r := range p.rows {
			s.lab.measure(ctx, all, round, r, p.systems)
			if err := errors.Join(all.save(s.json), ctx.Err()); err != nil {
				return err // what was measured until now is there
			}
		}
	}
	if err := s.measureTops(ctx, all, p.tops); err != nil {
		return err
	}
	for _, g := range p.growths {
		for _, n := range g.points {
			s.lab.grow(ctx, all, g, n, p.systems)
			if err := errors.Join(all.save(s.json), ctx.Err()); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure runs one row for all systems, each round in another order.
func (l *lab) measure(ctx context.Context, all *results, round int, r row, chosen []system) {
	for i := range chosen {
		s := chosen[(i+round)%len(chosen)]
		if why := l.lacks(r, s, round); why != "" {
			if why != silently {
				all.note("%s, %s: %s", r.name, s.name, why)
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if all.has(round, r, s.name) {
			continue
		}
		title := label(r.name+", "+s.name+", round", round)
		if o := l.try(ctx, all, title, r, s); o != nil {
			all.add(round, r, s.name, o)
		}
	}
}

// grow measures one point of a growth for all systems.
func (l *lab) grow(ctx context.Context, all *results, g growth, n int, chosen []system) {
	c := all.curve(g)
	for _, s := range chosen {
		if !slices.Contains(g.systems, s.name) || c.at(n, s.name) != nil || ctx.Err() != nil {
			continue
		}
		r := row{name: g.name, run: func(ctx context.Context, b *bench) error { return g.run(ctx, b, n) }}
		title := label(g.name+", "+s.name+",", n)
		if o := l.try(ctx, all, title, r, s); o != nil {
			c.Points = append(c.Points, &point{N: n, System: s.name, Values: o.values})
		}
	}
}

func label(what string, n int) string { return fmt.Sprintf("%s %d", what, n) }

// try measures once. What goes wrong is a note under the table; then there is no outcome.
func (l *lab) try(ctx context.Context, all *results, title string, r row, s system) *outcome {
	all.forget(title)
	began := time.Now()
	o, err := l.run(ctx, r, s)
	if o != nil {
		for _, trouble := range o.trouble {
			all.note("%s: %s", title, trouble)
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			all.note("%s: %s", title, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		l.tell("%s: %v", title, err)
		return nil
	}
	l.tell("%s: %s (%.1fs)", title, o.line(), time.Since(began).Seconds())
	return o
}

// tell says how far it is.
func (l *lab) tell(format string, args ...any) {
	_, _ = fmt.Fprintf(l.progress, format+"\n", args...) // nobody may be looking
}

// silently is why a row is left out without a note.
const silently = "-"

// lacks says why a row is not measured for a system, "" when it is.
func (l *lab) lacks(r row, s system, round int) string {
	slow := r.name == killRow && s.slowKill
	switch why := s.lacks[strings.TrimPrefix(r.name, aofPrefix)]; {
	case r.only != nil && !slices.Contains(r.only, s.name) || round >= r.most(s, slow):
		return silently
	case why != "":
		return why
	case slow && !l.slow:
		return "takes minutes: run with -slow"
	default:
		return ""
	}
}

// most is how often a row is measured for a system.
func (r row) most(s system, slow bool) int {
	most := math.MaxInt
	if r.rounds > 0 {
		most = r.rounds
	}
	if r.others > 0 && s.name != floorName && s.name != oursName {
		most = min(most, r.others)
	}
	if slow {
		most = 1
	}
	return most
}

// line is an outcome in short.
func (o *outcome) line() string {
	parts := []string{}
	for _, key := range slices.Sorted(maps.Keys(o.values)) {
		parts = append(parts, key+"="+short(o.values[key]))
	}
	return strings.Join(append(parts, o.trouble...), " ")
}

// has tells whether a row was measured already.
func (r *results) has(round int, w row, system string) bool {
	for _, l := range r.Lines {
		if l.Row == w.name && l.Cells[system] != nil {
			if _, ok := l.Cells[system].Values[round]; ok {
				return true
			}
		}
	}
	return false
}

// forget drops the notes of a measurement that is tried again.
func (r *results) forget(title string) {
	r.Notes = slices.DeleteFunc(r.Notes, func(note string) bool { return strings.HasPrefix(note, title+": ") })
}

// save writes the results to a file, whole or not at all.
func (r *results) save(path string) error {
	if path == "" {
		return nil
	}
	r.finish()
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err = os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func readResults(path string) (*results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &results{}
	return r, json.Unmarshal(text, r)
}
