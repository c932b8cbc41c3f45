package joblog_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/joblog"
)

const header = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"

// open makes a log of a file that holds text.
func open(t *testing.T, path, text string) (*joblog.Log, error) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return joblog.Resume(path)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func line(seq, exit, command string) string {
	return seq + "\t-\t1.000\t     0.100\t1\t2\t" + exit + "\t0\t" + command + "\n"
}

func TestLinesAreThoseOfParallel(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	log, err := joblog.Create(path)
	must(t, err)
	must(t, log.Append(joblog.Entry{
		Seq: 1, Start: time.UnixMilli(1700000000123), Took: 1500 * time.Millisecond, Sent: 3, Received: 9, Exit: 7, Signal: 0,
		Command: "f a\tb\nc\\n\r\x00\xff",
	}))
	must(t, log.Append(joblog.Entry{Seq: 2, Start: time.UnixMilli(0), Command: "f long", Cut: true}))
	must(t, log.Close())
	want := header + "1\t-\t1700000000.123\t     1.500\t3\t9\t7\t0\tf a\\tb\\nc\\\\n\\r\\0\xff\n" +
		"2\t-\t0.000\t     0.000\t0\t0\t0\t0\tf long\t...\n"
	if got := read(t, path); got != want {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}

func TestResumeKnowsWhatIsDone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	log, err := open(t, path, header+line("3", "0", "f c")+line("1", "0", `f a\nb`)+line("2", "1", "f b")+line("5", "1", "f e")+line("5", "0", "f e")+
		line("6", "0", "f f")+line("6", "2", "f f")+line("7", "1", "f long\t...")+line("9", "0", `f z\\...`))
	must(t, err)
	for seq, want := range []bool{1: true, 2: false, 3: true, 4: false, 5: true, 6: false, 7: false} {
		if seq == 0 {
			continue
		}
		command := "f " + map[int]string{1: "a\nb", 2: "b", 3: "c", 4: "d", 5: "e", 6: "f", 7: "long as it is"}[seq]
		if done, err := log.Done(seq, command); done != want || err != nil {
			t.Errorf("input %d: done is %v, %v; want %v", seq, done, err, want)
		}
	}
	if missed := log.Missed(); missed != 1 {
		t.Errorf("%d inputs are missed, want 1", missed)
	}
	if _, err := log.Done(9, `f y\...`); !errors.Is(err, joblog.ErrOther) || !strings.Contains(err.Error(), "input 9") {
		t.Errorf("another input: %v", err)
	}
	must(t, log.Append(joblog.Entry{Seq: 2, Command: "f b"}))
	must(t, log.Close())
	log, err = joblog.Resume(path)
	must(t, err)
	if done, err := log.Done(2, "f b"); !done || err != nil {
		t.Errorf("what was appended: done is %v, %v", done, err)
	}
	must(t, log.Close())
}

func TestTornLinesAreMended(t *testing.T) {
	t.Parallel()
	whole := header + line("1", "0", "f a")
	for text, want := range map[string]string{
		"":                              header,
		header[:10]:                     header,
		header:                          header,
		whole:                           whole,
		whole + "2\t-\t17":              whole,
		whole + line("2", "0", "")[:20]: whole,
		header + "1":                    header,
	} {
		path := filepath.Join(t.TempDir(), "log")
		log, err := open(t, path, text)
		must(t, err)
		if got := log.Mended(); got > 0 != (len(text) > len(want) || text == header[:10]) {
			t.Errorf("%q: %d bytes were mended", text, got)
		}
		must(t, log.Append(joblog.Entry{Seq: 2, Start: time.UnixMilli(0), Command: "f b"}))
		must(t, log.Close())
		if got := read(t, path); got != want+"2\t-\t0.000\t     0.000\t0\t0\t0\t0\tf b\n" {
			t.Errorf("%q became\n%q", text, got)
		}
	}
}

func TestWhatIsNoLog(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"hello\n":                        "not that of a joblog",
		header + "1\t2\n":                "line 2: it has 2 columns in place of 9",
		header + line("0", "0", "f")[0:]: `line 2: the column Seq holds "0"`,
		header + line("1", "0", "f") + line("x", "0", "f"): `line 3: the column Seq holds "x"`,
	} {
		path := filepath.Join(t.TempDir(), "log")
		_, err := open(t, path, text)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
		if got := read(t, path); got != text {
			t.Errorf("it was changed to %q", got)
		}
	}
	if _, err := joblog.Resume(t.TempDir()); err == nil {
		t.Error("a directory is no error")
	}
	if _, err := joblog.Resume("/dev/null"); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Errorf("a device: %v", err)
	}
	if _, err := joblog.Create(filepath.Join(t.TempDir(), "no", "log")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestALogHasOneWriter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	log, err := joblog.Create(path)
	must(t, err)
	if _, err := joblog.Resume(path); !errors.Is(err, joblog.ErrLocked) {
		t.Errorf("a second one: %v", err)
	}
	must(t, log.Close())
	if _, err := joblog.Create(path); !errors.Is(err, joblog.ErrExists) {
		t.Errorf("a log that exists: %v", err)
	}
	must(t, func() error { _, err := joblog.Resume(path); return err }())
}

func TestAppendReportsWhatItCouldNotWrite(t *testing.T) {
	t.Parallel()
	log, err := joblog.Create(filepath.Join(t.TempDir(), "log"))
	must(t, err)
	must(t, log.Close())
	if err := log.Append(joblog.Entry{Seq: 1}); err == nil || log.Close() == nil {
		t.Errorf("a closed log: %v", err)
	}
}
