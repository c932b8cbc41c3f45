package conn

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"
)

func read(t testing.TB, text string) ([]Stream, error) {
	t.Helper()
	a := answer{bytes: []byte(text)}
	return a.streams()
}

func TestAnswersOfBothProtocols(t *testing.T) {
	t.Parallel()
	one := []Stream{{Key: "a", Entries: []Entry{{ID: "1-1", Fields: []string{"f", "1"}}}}}
	for text, want := range map[string][]Stream{
		"*-1\r\n": nil,
		"$-1\r\n": nil,
		"_\r\n":   nil,
		"*0\r\n":  {},
		"*1\r\n*2\r\n$1\r\na\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\n1\r\n": one,
		"%1\r\n$1\r\na\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\n1\r\n":       one,
		"%1\r\n+a\r\n*1\r\n*2\r\n+1-1\r\n*2\r\n$1\r\nf\r\n:1\r\n":                      one,
		// Attributes before it, and more than ID and fields in an entry.
		"|1\r\n+x\r\n*2\r\n:1\r\n$-1\r\n%1\r\n$1\r\na\r\n*1\r\n*4\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\n1\r\n:5\r\n%1\r\n+a\r\n#t\r\n": one,
		// Entries that were deleted after their delivery.
		"*1\r\n*2\r\n$1\r\na\r\n*3\r\n*2\r\n$3\r\n1-1\r\n*-1\r\n*2\r\n$3\r\n1-2\r\n_\r\n*2\r\n$3\r\n1-3\r\n$-1\r\n": {
			{Key: "a", Entries: []Entry{{ID: "1-1"}, {ID: "1-2"}, {ID: "1-3"}}},
		},
		"*2\r\n*2\r\n$1\r\na\r\n*0\r\n*2\r\n$1\r\nb\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$0\r\n\r\n$4\r\n\r\n\r\n\r\n": {
			{Key: "a", Entries: []Entry{}}, {Key: "b", Entries: []Entry{{ID: "1-1", Fields: []string{"", "\r\n\r\n"}}}},
		},
	} {
		if got, err := read(t, text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestErrorsOfTheServerAreKnownForWhatTheyAre(t *testing.T) {
	t.Parallel()
	for text, is := range map[string]func(error) bool{
		"-NOGROUP no such key\r\n":                          IsNoGroup,
		"!20\r\nNOGROUP no such key.\r\n":                   IsNoGroup,
		"-UNBLOCKED the stream key no longer exists\r\n":    IsUnblocked,
		"-OOM command not allowed\r\n":                      IsFull,
		"-NOPERM this user\r\n":                             IsAuth,
		"-MOVED 1 127.0.0.1:1\r\n":                          func(err error) bool { return redis.HasErrorPrefix(err, "MOVED") },
		"-LOADING Redis is loading the dataset\r\n":         isRefusal,
		"|1\r\n+x\r\n+y\r\n-ERR a wrong number of args\r\n": isRefusal,
	} {
		_, err := read(t, text)
		if err == nil || !is(err) || !NotSent(fmt.Errorf("wrapped: %w", err)) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

// TestBrokenAnswersAreErrors cuts a whole answer everywhere, and changes each of its bytes.
func TestBrokenAnswersAreErrors(t *testing.T) {
	t.Parallel()
	whole := "%1\r\n$1\r\na\r\n*2\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$2\r\nab\r\n*2\r\n$3\r\n1-2\r\n*-1\r\n"
	for i := range whole {
		if got, err := read(t, whole[:i]); err == nil || isRefusal(err) {
			t.Errorf("%q: got %q, %v, want an error that leaves doubt", whole[:i], got, err)
		}
		for _, c := range []byte("\r\n$*%-09x\x00\xff") {
			changed := []byte(whole)
			changed[i] = c
			_, _ = read(t, string(changed)) // whatever it is, it does not panic
		}
	}
	for _, text := range []string{
		"", "\r\n", "*1", "x\r\n", "*x\r\n", "*1000000000000\r\n", "%99999999999999999999\r\n", "$5\r\nhello\r\n", ":1\r\n", "#t\r\n",
		"*1\r\n*2\r\n$1\r\naXX*0\r\n", "*1\r\n*1\r\n$1\r\na\r\n", "*1\r\n*2\r\n$1\r\na\r\n:1\r\n", "*1\r\n*2\r\n$-5\r\n", "*1\r\n*2\r\n$1\r\na\r\n*1\r\n*1\r\n$3\r\n1-1\r\n",
		strings.Repeat("|1\r\n", 100), "|1\r\n+x\r\n" + strings.Repeat("*1\r\n", 100),
	} {
		if got, err := read(t, text); err == nil || isRefusal(err) {
			t.Errorf("%q: got %q, %v, want an error that leaves doubt", text, got, err)
		}
	}
}

// TestWhatWasReadLiesInNoBuffer overwrites the buffer, and holds that IDs of a large answer are pieces of their own.
func TestWhatWasReadLiesInNoBuffer(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, keepBuffer} {
		text := canned(5, size)
		a := answer{bytes: []byte(text)}
		got, err := a.streams()
		if err != nil {
			t.Fatal(err)
		}
		for i := range a.bytes {
			a.bytes[i] = 'z'
		}
		want, _ := read(t, text)
		if !reflect.DeepEqual(got, want) || len(got[0].Entries) != 5 || len(got[0].Entries[2].Fields[1]) != size {
			t.Errorf("payloads of %d: the entries have changed", size)
		}
		e := &got[0].Entries[0]
		together := uintptr(unsafe.Pointer(unsafe.StringData(e.Fields[1])))-uintptr(unsafe.Pointer(unsafe.StringData(e.ID))) ==
			uintptr(strings.Index(text, "xxx")-strings.Index(text, "1790"))
		if want := size == 10; together != want {
			t.Errorf("payloads of %d: in one piece of memory: %t, want %t", size, together, want)
		}
		a.reset()
		if kept := cap(a.bytes); kept > keepBuffer {
			t.Errorf("a buffer of %d is kept", kept)
		}
	}
}

// canned is an answer to XREADGROUP.
func canned(entries, size int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*1\r\n*2\r\n$12\r\nwm:{q}:tasks\r\n*%d\r\n", entries)
	for i := range entries {
		fmt.Fprintf(&b, "*2\r\n$15\r\n1790000000000-%d\r\n*2\r\n$2\r\nv1\r\n$%d\r\n%s\r\n", i%10, size, strings.Repeat(string(rune('x'-i%20)), size))
	}
	return b.String()
}

func FuzzAnswer(f *testing.F) {
	f.Add("*-1\r\n")
	f.Add("-NOGROUP x\r\n")
	f.Add(canned(2, 5))
	f.Add("%1\r\n$1\r\na\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*-1\r\n")
	f.Add("|1\r\n+x\r\n%1\r\n+a\r\n*0\r\n_\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		streams, err := read(t, text)
		if err != nil {
			return
		}
		total := 0
		for _, s := range streams {
			total += len(s.Key)
			for _, e := range s.Entries {
				total += len(e.ID)
				for _, field := range e.Fields {
					total += len(field)
				}
			}
		}
		if total > len(text) {
			t.Errorf("%q: %d bytes were made of %d", text, total, len(text))
		}
	})
}

// canner is a connection that answers every XREADGROUP with one text, in pieces, without anybody at its other end.
type canner struct {
	net.Conn

	text  string
	piece int
	ready bytes.Buffer
}

// Write takes commands, whole ones.
func (c *canner) Write(p []byte) (int, error) {
	for r := bufio.NewReader(bytes.NewReader(p)); ; {
		name, err := command(r)
		if err != nil {
			return len(p), nil //nolint:nilerr // all were taken
		}
		switch name {
		case "xreadgroup":
			c.ready.WriteString(c.text)
		case "client":
			c.ready.WriteString(":7\r\n")
		default:
			c.ready.WriteString("-ERR unknown\r\n")
		}
	}
}

// Read gives a piece; at the end it fails.
func (c *canner) Read(p []byte) (int, error) { return c.ready.Read(p[:min(len(p), c.piece)]) }

// The deadlines of a connection that never waits.
func (c *canner) SetDeadline(time.Time) error      { return nil }
func (c *canner) SetReadDeadline(time.Time) error  { return nil }
func (c *canner) SetWriteDeadline(time.Time) error { return nil }
func (c *canner) Close() error                     { return nil }
func (c *canner) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// serveCanned returns a client of such connections.
func serveCanned(t testing.TB, text string, piece int) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", Protocol: 2, DisableIdentity: true, Dialer: func(context.Context, string, string) (net.Conn, error) {
		return &canner{text: text, piece: piece}, nil
	}})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// command takes one command and returns its name.
func command(r *bufio.Reader) (string, error) {
	n, err := header(r)
	if err != nil {
		return "", err
	}
	name := ""
	for i := range n {
		size, err := header(r)
		if err != nil {
			return "", err
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(r, word); err != nil {
			return "", err
		}
		if i == 0 {
			name = strings.ToLower(string(word[:size]))
		}
	}
	return name, nil
}

func header(r *bufio.Reader) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

// TestAnswersComeInPieces reads over a connection that gives a few bytes at a time.
func TestAnswersComeInPieces(t *testing.T) {
	t.Parallel()
	for _, size := range []int{300, largeText - 1, largeText, 200_000} {
		comesInPieces(t, canned(20, size))
	}
}

func comesInPieces(t *testing.T, text string) {
	t.Helper()
	want, err := read(t, text)
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []int{7, 1000, 1 << 20} {
		r, err := NewReader(serveCanned(t, text, piece), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			got, err := r.ReadGroup(t.Context(), GroupRead{Group: "g", Consumer: "c", Count: 20, Keys: []string{"k"}, IDs: []string{">"}})
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("in pieces of %d: %v, or other entries", piece, err)
			}
		}
		_ = r.Close()
	}
}

// TestAnAnswerThatEndsEarlyLeavesDoubt is a connection that breaks in the middle: the entries were delivered.
func TestAnAnswerThatEndsEarlyLeavesDoubt(t *testing.T) {
	t.Parallel()
	for _, size := range []int{300, 3 * largeText} {
		text := canned(3, size)
		r, err := NewReader(serveCanned(t, text[:len(text)/2], 1000), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.ReadGroup(t.Context(), GroupRead{Group: "g", Consumer: "c", Count: 20, Keys: []string{"k"}, IDs: []string{">"}})
		if err == nil || NotSent(err) || got != nil {
			t.Errorf("texts of %d: got %d streams, %v, want an error that leaves doubt", size, len(got), err)
		}
		_ = r.Close()
	}
}

// BenchmarkRead reads a hundred entries of 100 bytes, as here and as go-redis does it.
func BenchmarkRead(b *testing.B) {
	const entries = 100
	text := canned(entries, 160)
	rdb := serveCanned(b, text, len(text))
	per := func(b *testing.B) {
		b.Helper()
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/entries, "ns/entry")
	}
	b.Run("here", func(b *testing.B) {
		r, err := NewReader(rdb, time.Second)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		b.ReportAllocs()
		for b.Loop() {
			got, err := r.ReadGroup(b.Context(), GroupRead{Group: "g", Consumer: "c", Count: entries, Keys: []string{"k"}, IDs: []string{">"}})
			if err != nil || len(got[0].Entries) != entries {
				b.Fatal(len(got), err)
			}
		}
		per(b)
	})
	b.Run("go-redis", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			got, err := rdb.XReadGroup(b.Context(), &redis.XReadGroupArgs{Group: "g", Consumer: "c", Streams: []string{"k", ">"}, Count: entries, Block: -1}).Result()
			if err != nil || len(got[0].Messages) != entries {
				b.Fatal(len(got), err)
			}
		}
		per(b)
	})
	b.Run("go-redis generic", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := rdb.Do(b.Context(), "xreadgroup", "group", "g", "c", "count", entries, "streams", "k", ">").Slice(); err != nil {
				b.Fatal(err)
			}
		}
		per(b)
	})
}

func BenchmarkParse(b *testing.B) {
	a := answer{bytes: []byte(canned(100, 160))}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.streams(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestReadsAllocateLittle holds what a read allocates for each entry: three pieces are go-redis's.
func TestReadsAllocateLittle(t *testing.T) { //nolint:paralleltest // counts allocations
	const entries = 100
	text := canned(entries, 160)
	r, err := NewReader(serveCanned(t, text, len(text)), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	allocs := testing.AllocsPerRun(50, func() {
		got, err := r.ReadGroup(t.Context(), GroupRead{Group: "g", Consumer: "c", Count: entries, Keys: []string{"k"}, IDs: []string{">"}})
		if err != nil || len(got[0].Entries) != entries {
			t.Fatal(len(got), err)
		}
	})
	if most := 4.0; allocs/entries > most {
		t.Errorf("%.1f allocations for an entry, want at most %.0f", allocs/entries, most)
	}
}
