package wire

import (
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// spreadBuckets is how many buckets a [Spread] has; the last one holds all from six days on.
const spreadBuckets = 40

// Spread is how durations spread: bucket b holds those below 2^b microseconds that are in none before it.
type Spread struct {
	Sum     int64 // microseconds
	Buckets [spreadBuckets]int64
}

// Add notes a duration n times.
func (s *Spread) Add(d time.Duration, n int64) {
	us := max(int64(d/time.Microsecond), 0)
	s.Sum += us * n
	s.Buckets[min(bits.Len64(uint64(us)), spreadBuckets-1)] += n
}

// Merge adds another spread.
func (s *Spread) Merge(other *Spread) {
	s.Sum += other.Sum
	for b, n := range other.Buckets {
		s.Buckets[b] += n
	}
}

// N is how many there are.
func (s *Spread) N() (n int64) {
	for _, one := range s.Buckets {
		n += one
	}
	return n
}

// Quantile is the upper bound of the bucket that the quantile q, from 0 to 1, is in; 0 of none.
func (s *Spread) Quantile(q float64) time.Duration {
	n := s.N()
	if n == 0 {
		return 0
	}
	rank := max(int64(q*float64(n)+0.999999), 1)
	for b, one := range s.Buckets {
		if rank -= one; rank <= 0 {
			return time.Microsecond << b
		}
	}
	return time.Microsecond << (spreadBuckets - 1)
}

// Deeds is what was done of one function.
type Deeds struct {
	Done, Retried, Dead int64
	Handler             Spread
}

// Minute is what a queue did in one minute, and how full it was then. [More] stands for functions that found no place.
type Minute struct {
	At                        int64 // its beginning, ms, by the clock of Redis
	Enqueued                  int64
	Waiting, Running, Delayed int64
	Wait                      Spread
	Functions                 map[string]*Deeds
}

// Deeds are those of a function.
func (m *Minute) Deeds(function string) *Deeds {
	d := m.Functions[function]
	if d == nil {
		if m.Functions == nil {
			m.Functions = map[string]*Deeds{}
		}
		d = &Deeds{}
		m.Functions[function] = d
	}
	return d
}

// Merge adds what another minute did.
func (m *Minute) Merge(other *Minute) {
	m.Wait.Merge(&other.Wait)
	for name, d := range other.Functions {
		mine := m.Deeds(name)
		mine.Done, mine.Retried, mine.Dead = mine.Done+d.Done, mine.Retried+d.Retried, mine.Dead+d.Dead
		mine.Handler.Merge(&d.Handler)
	}
}

// Names of the fields of a function, after its name and a colon. Those of a spread are "s", the sum, and the numbers of buckets; the
// spread of waits has them after a colon alone.
const (
	fieldDone    = "d"
	fieldRetried = "r"
	fieldDead    = "x"
	fieldSum     = "s"
)

// Fields is what was done as field, number, field, number, and so on: what is 0 is left out.
func (m *Minute) Fields() []any {
	var fields []any
	add := func(function, name string, n int64) {
		if n != 0 {
			fields = append(fields, function+":"+name, n)
		}
	}
	spread := func(function string, s *Spread) {
		add(function, fieldSum, s.Sum)
		for b, n := range s.Buckets {
			add(function, strconv.Itoa(b), n)
		}
	}
	spread("", &m.Wait)
	for function, d := range m.Functions {
		add(function, fieldDone, d.Done)
		add(function, fieldRetried, d.Retried)
		add(function, fieldDead, d.Dead)
		spread(function, &d.Handler)
	}
	return fields
}

// ParseMinute reads a minute as Redis keeps it: fields and numbers, with blanks between. What is no such field is left out.
func ParseMinute(text string) Minute {
	var m Minute
	var from, to int64
	for text != "" {
		var field, value string
		field, text, _ = strings.Cut(text, " ")
		value, text, _ = strings.Cut(text, " ")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			continue
		}
		switch field {
		case "minute":
			m.At = n
		case "from":
			from = n
		case "enqueued":
			to = n
		case "waiting":
			m.Waiting = n
		case "running":
			m.Running = n
		case "delayed":
			m.Delayed = n
		default:
			m.set(field, n)
		}
	}
	m.Enqueued = max(to-from, 0)
	return m
}

// set takes a field of a function or of the waits.
func (m *Minute) set(field string, n int64) {
	function, name, ok := strings.Cut(field, ":")
	if !ok {
		return
	}
	spread := &m.Wait
	if function != "" {
		d := m.Deeds(function)
		spread = &d.Handler
		switch name {
		case fieldDone:
			d.Done = n
		case fieldRetried:
			d.Retried = n
		case fieldDead:
			d.Dead = n
		}
	}
	if name == fieldSum {
		spread.Sum = n
	} else if b, err := strconv.Atoi(name); err == nil && b >= 0 && b < spreadBuckets {
		spread.Buckets[b] = n
	}
}
