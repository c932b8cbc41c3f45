// Package joblog keeps a file with one line for each input that ended, in the format of GNU parallel's --joblog.
//
//	log, err := joblog.Resume("jobs.log")   // or Create for a new one
//	done, err := log.Done(1, "lines a.txt") // was it done before?
//	err = log.Append(joblog.Entry{Seq: 1, Command: "lines a.txt"})
//
// Each line goes out in one write, so that a process that is killed leaves whole lines; one that a full disk has torn is cut off by
// Resume. The file is locked as long as it is open: two processes would number their inputs alike.
package joblog

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// header is the first line of the file.
const header = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"

// The columns that are read.
const (
	columnSeq     = 0
	columnExit    = 6
	columnSignal  = 7
	columnCommand = 8
	columns       = 9
)

// unknownHost stands in the column Host: what Redis keeps of a task does not say who ran it.
const unknownHost = "-"

// The mistakes of a caller; test with errors.Is.
var (
	// ErrExists says that there is a log already, and Create was called.
	ErrExists = errors.New("it exists and is not empty")
	// ErrLocked says that another process has the log open.
	ErrLocked = errors.New("another process writes to it")
	// ErrOther says that the log was written for other inputs.
	ErrOther = errors.New("it was written for other inputs")
)

// Entry is how one input ended.
type Entry struct {
	Seq            int // number of the input, from 1
	Start          time.Time
	Took           time.Duration
	Sent, Received int // bytes of input and result
	Exit, Signal   int // both 0 for a success
	Command        string
	Cut            bool // Command is only the beginning of it
}

// Log is an open file. Done is for one goroutine, Append for one, which may be another; Close comes last.
type Log struct {
	path   string
	file   *os.File
	mended int64
	seed   maphash.Seed

	past  []past // by Seq; of one Seq in the order of the file
	next  int    // of past: all before it are behind the caller
	found int    // Seqs of past that the caller has passed
	seqs  int    // different Seqs of past
}

// past is a line of an earlier run. What was to run is kept as a sum: inputs may be long and many.
type past struct {
	seq  int
	sum  uint64
	done bool
	cut  bool
}

// Create begins a new log. One that is there and not empty is ErrExists.
func Create(path string) (*Log, error) {
	l, size, err := open(path)
	if err != nil {
		return nil, err
	}
	if size > 0 {
		return nil, l.fail(ErrExists)
	}
	if err := l.write(header + "\n"); err != nil {
		return nil, l.fail(err)
	}
	return l, nil
}

// Resume opens a log to go on with, or begins one when there is none.
func Resume(path string) (*Log, error) {
	l, size, err := open(path)
	if err != nil {
		return nil, err
	}
	whole, err := l.read()
	if err == nil && whole < size {
		l.mended = size - whole
		err = l.file.Truncate(whole)
	}
	if err == nil && whole == 0 {
		err = l.write(header + "\n")
	}
	if err != nil {
		return nil, l.fail(err)
	}
	return l, nil
}

// open opens and locks the file.
func open(path string) (*Log, int64, error) {
	const readable = 0o644
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, readable)
	if err != nil {
		return nil, 0, fmt.Errorf("joblog: open: %w", err)
	}
	l := &Log{path: path, file: file, seed: maphash.MakeSeed()}
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, 0, l.fail(err)
	case !info.Mode().IsRegular():
		return nil, 0, l.fail(errors.New("it is not a file"))
	}
	if err := lock(file); err != nil {
		return nil, 0, l.fail(err)
	}
	if info, err = file.Stat(); err != nil { // once more: who had it locked may have written
		return nil, 0, l.fail(err)
	}
	return l, info.Size(), nil
}

// fail closes the file, for a constructor that gives up.
func (l *Log) fail(err error) error {
	_ = l.file.Close()
	return fmt.Errorf("joblog %s: %w", l.path, err)
}

// read takes in the lines of earlier runs; whole is where the last whole line ends.
func (l *Log) read() (whole int64, err error) {
	lines := bufio.NewReaderSize(l.file, 1<<20)
	for number := 1; ; number++ {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) { // a line without its end is torn
			break
		}
		if err != nil {
			return 0, err
		}
		whole += int64(len(line))
		line = line[:len(line)-1]
		if number == 1 {
			if line != header {
				return 0, errors.New("its first line is not that of a joblog; name another file")
			}
			continue
		}
		entry, err := l.parse(line)
		if err != nil {
			return 0, fmt.Errorf("line %d: %w; repair or remove the line", number, err)
		}
		l.past = append(l.past, entry)
	}
	slices.SortStableFunc(l.past, func(a, b past) int { return cmp.Compare(a.seq, b.seq) })
	for i := range l.past {
		if i == 0 || l.past[i].seq != l.past[i-1].seq {
			l.seqs++
		}
	}
	return whole, nil
}

func (l *Log) parse(line string) (past, error) {
	fields := strings.SplitN(line, "\t", columns)
	if len(fields) < columns {
		return past{}, fmt.Errorf("it has %d columns in place of %d", len(fields), columns)
	}
	seq, err := strconv.Atoi(fields[columnSeq])
	if err != nil || seq < 1 {
		return past{}, fmt.Errorf("the column Seq holds %.20q, which is no number from 1 up", fields[columnSeq])
	}
	command := fields[columnCommand]
	return past{
		seq: seq, sum: maphash.String(l.seed, command),
		done: fields[columnExit] == "0" && fields[columnSignal] == "0",
		cut:  strings.HasSuffix(command, cutMark),
	}, nil
}

// Mended is how many bytes of a torn last line were cut off.
func (l *Log) Mended() int64 { return l.mended }

// Done tells whether the log has an input as done, with what its last line of it says. Seqs have to come in rising order. A line
// of another command is ErrOther.
func (l *Log) Done(seq int, command string) (bool, error) {
	for l.next < len(l.past) && l.past[l.next].seq < seq {
		l.next++
	}
	done, known := false, false
	var sum uint64
	for ; l.next < len(l.past) && l.past[l.next].seq == seq; l.next++ {
		if !known {
			sum = maphash.String(l.seed, escape(command))
		}
		p := l.past[l.next]
		if !p.cut && p.sum != sum {
			return false, fmt.Errorf("joblog %s: %w: input %d is another one", l.path, ErrOther, seq)
		}
		done, known = p.done, true
	}
	if known {
		l.found++
	}
	return done, nil
}

// Missed is how many inputs of the log were not asked for with Done.
func (l *Log) Missed() int { return l.seqs - l.found }

// Append adds a line. An error leaves a line torn at worst.
func (l *Log) Append(e Entry) error {
	command := escape(e.Command)
	if e.Cut {
		command += cutMark
	}
	err := l.write(fmt.Sprintf("%d\t%s\t%.3f\t%10.3f\t%d\t%d\t%d\t%d\t%s\n",
		e.Seq, unknownHost, float64(e.Start.UnixMicro())/1e6, e.Took.Seconds(), e.Sent, e.Received, e.Exit, e.Signal, command))
	if err != nil {
		return fmt.Errorf("joblog %s: append: %w", l.path, err)
	}
	return nil
}

func (l *Log) write(line string) error {
	_, err := l.file.WriteString(line)
	return err
}

// Close closes the file, and with it gives up the lock.
func (l *Log) Close() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("joblog %s: close: %w", l.path, err)
	}
	return nil
}

// cutMark ends a command of which only the beginning is written. No escaped command holds a tab.
const cutMark = "\t..."

// escape makes one line of a command. All other bytes stay as they are.
var escape = strings.NewReplacer("\\", `\\`, "\n", `\n`, "\t", `\t`, "\r", `\r`, "\x00", `\0`).Replace
