package redistest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// errFrame is returned for bytes that are no Redis protocol.
var errFrame = errors.New("redistest: malformed frame")

// readFrame reads one whole value of the Redis protocol (version 2 or 3), an aggregate with all it holds, as its raw bytes.
func readFrame(r *bufio.Reader) ([]byte, error) {
	var frame bytes.Buffer
	if err := copyFrame(&frame, r); err != nil {
		return nil, err
	}
	return frame.Bytes(), nil
}

func copyFrame(frame *bytes.Buffer, r *bufio.Reader) error {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	frame.Write(line)
	switch line[0] {
	case '$', '=', '!': // so many bytes and CRLF; -1 is null
		size, err := frameLength(line)
		if err != nil || size < 0 {
			return err
		}
		_, err = io.CopyN(frame, r, int64(size)+2)
		return err
	case '*', '~', '>', '%', '|': // so many values, twice as many in a map
		count, err := frameLength(line)
		if line[0] == '%' || line[0] == '|' {
			count *= 2
		}
		if line[0] == '|' {
			count++ // an attribute comes before the value it is about
		}
		for i := 0; err == nil && i < count; i++ {
			err = copyFrame(frame, r)
		}
		return err
	default: // one line: status, error, number, boolean, null, double; or an inline command
		return nil
	}
}

func frameLength(line []byte) (int, error) {
	n, err := strconv.Atoi(string(bytes.TrimSpace(line[1:])))
	if err != nil {
		return 0, fmt.Errorf("%w: %q", errFrame, line)
	}
	return n, nil
}

// command is the upper-case name of the command in a request.
func command(request []byte) string {
	name := request
	if request[0] == '*' { // *3\r\n$3\r\nSET\r\n...
		lines := bytes.SplitN(request, []byte("\r\n"), 4)
		if len(lines) < 3 {
			return ""
		}
		name = lines[2]
	}
	word, _, _ := bytes.Cut(bytes.TrimSpace(name), []byte(" "))
	return string(bytes.ToUpper(word))
}
