package conn

import (
	"bufio"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/redis/go-redis/v9"
)

func TestAnswersOnALine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]any{
		"+OK\r\n":                        "OK",
		"+QUEUED\r\n":                    "QUEUED",
		"+other words\r\n":               "other words",
		":-12\r\n":                       int64(-12),
		":9223372036854775807\r\n":       int64(9223372036854775807),
		"$0\r\n\r\n":                     "",
		"$5\r\na\r\nb\x00\r\n":           "a\r\nb\x00",
		"$-1\r\n":                        nil,
		"*-1\r\n":                        nil, // EXEC, when a watched key has changed
		"_\r\n":                          nil, // the same in RESP3
		"*0\r\n":                         []any{},
		"*3\r\n$3\r\n1-1\r\n_\r\n:7\r\n": []any{"1-1", nil, int64(7)},
		"-ERR no\r\n":                    serverError("ERR no"),
		"*2\r\n-OOM command not allowed\r\n+OK\r\n": []any{serverError("OOM command not allowed"), "OK"}, // EXEC, of which one failed
	} {
		for name, reader := range map[string]io.Reader{"at once": strings.NewReader(in), "in bits": iotest.OneByteReader(strings.NewReader(in))} {
			got, err := readAnswer(bufio.NewReader(reader), 0)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%q %s: got %#v, %v, want %#v", in, name, got, err, want)
			}
		}
	}
	if !redis.HasErrorPrefix(serverError("NOSCRIPT none"), "NOSCRIPT") {
		t.Error("go-redis does not know an error of the server")
	}
}

func TestWhatIsNoAnswerOnALineIsAnError(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"nothing":                "",
		"half a line":            "+O",
		"half a text":            "$5\r\nab",
		"half an array":          "*2\r\n+OK\r\n",
		"an empty line":          "\r\n",
		"a line without CR":      "+OK\n",
		"a kind alone":           "+\n",
		"no number":              ":1a\r\n",
		"a number too large":     ":9223372036854775808\r\n",
		"no length":              "$\r\n",
		"a length below nothing": "$-2\r\n",
		"a huge text":            "$1048577\r\n" + strings.Repeat("x", mostLength+1) + "\r\n",
		"a huge array":           "*1048577\r\n" + strings.Repeat(":1\r\n", mostLength+1),
		"a text that goes on":    "$2\r\nabc\r\n",
		"HTTP":                   "HTTP/1.1 400 Bad Request\r\n\r\n",
		"a strange kind":         "x-1\r\n",
		"a push of RESP3":        ">2\r\n$10\r\ninvalidate\r\n_\r\n",
		"a map of RESP3":         "%1\r\n+a\r\n+b\r\n",
		"a nest":                 strings.Repeat("*1\r\n", 20) + ":1\r\n",
		"a line without an end":  "+" + strings.Repeat("x", 2*lineBuffer),
	} {
		if got, err := readAnswer(bufio.NewReaderSize(strings.NewReader(in), lineBuffer), 0); err == nil {
			t.Errorf("%s: got %#v", name, got)
		}
	}
	broken := errors.New("broken")
	in := io.MultiReader(strings.NewReader("*2\r\n+OK\r\n"), iotest.ErrReader(broken))
	if _, err := readAnswer(bufio.NewReader(in), 0); !errors.Is(err, broken) {
		t.Errorf("got %v, want what the connection says", err)
	}
}

// FuzzAnswerOnALine holds that no answer makes readAnswer panic, or read what was not sent.
func FuzzAnswerOnALine(f *testing.F) {
	for _, seed := range []string{"+OK\r\n", "*2\r\n$1\r\na\r\n-ERR x\r\n", ":1\r\n", "_\r\n", "*-1\r\n", "$3\r\nabc\r\n", ">1\r\n+x\r\n", "*1\r\n*1\r\n*1\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bufio.NewReader(strings.NewReader(string(data)))
		for {
			answer, err := readAnswer(in, 0)
			if err != nil {
				return
			}
			if text, ok := answer.(string); ok && !strings.Contains(string(data), text) {
				t.Errorf("read %q", text)
			}
		}
	})
}
