package fleet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

const (
	longestLine = 8 << 10 // bytes of a line that is written
	keptLines   = 5
	keptOfLine  = 300 // characters
)

// eachLine calls take for each line, without its end and what a terminal would obey; of long lines with the beginning.
func eachLine(from io.Reader, take func(string)) {
	lines := bufio.NewReaderSize(from, longestLine)
	for {
		piece, err := lines.ReadSlice('\n')
		text, more := string(piece), 0
		for errors.Is(err, bufio.ErrBufferFull) {
			piece, err = lines.ReadSlice('\n')
			more += len(piece)
		}
		if len(text) > 0 {
			text = clean(text)
			if more > 0 {
				text += fmt.Sprintf("… (%d bytes more)", more)
			}
			take(text)
		}
		if err != nil {
			return
		}
	}
}

// clean makes one line of text. A progress bar's states are overwritten by the last one, as on a terminal.
func clean(text string) string {
	text = strings.TrimRight(plain.Text(text), "\n")
	if at := strings.LastIndexByte(text, '\n'); at >= 0 {
		text = text[at+1:]
	}
	return text
}

// saysReady tells whether a line of output means that the program is able to work.
func saysReady(line string) bool {
	rest, ok := strings.CutPrefix(line, "ready")
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == ':')
}

// lastLines keeps what a process said last, its standard error if it said something there.
type lastLines struct {
	mu       sync.Mutex
	out, err []string
}

func (l *lastLines) add(stderr bool, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := &l.out
	if stderr {
		list = &l.err
	}
	if *list = append(*list, plain.Short(line, keptOfLine)); len(*list) > keptLines {
		*list = (*list)[1:]
	}
}

func (l *lastLines) get() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.err) > 0 {
		return append([]string(nil), l.err...)
	}
	return append([]string(nil), l.out...)
}
