package programs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

// The bounds of splits.
const (
	DefaultSplit   = 8 << 20   // bytes of files
	DefaultShipped = 512 << 10 // bytes of lines that come along
	MostShipped    = 4 << 20   // likewise, of one line too
	mostParts      = 1000
)

// CutConfig says how inputs are cut.
type CutConfig struct {
	Split   int64 // bytes of a map task; default DefaultSplit, or DefaultShipped of lines that come along
	PerFile bool  // a map task reads one file only
}

// Cut yields splits of files, by their paths, which have to be absolute: only their sizes are read. Files that are smaller than
// a split share one. An error ends it.
func Cut(paths []string, cfg CutConfig) iter.Seq2[Split, error] {
	most := cfg.Split
	if most <= 0 {
		most = DefaultSplit
	}
	return func(yield func(Split, error) bool) {
		var s Split
		var held int64
		flush := func() bool {
			full := s
			s, held = Split{}, 0
			return len(full.Parts) == 0 || yield(full, nil)
		}
		for _, path := range paths {
			size, err := sizeOf(path)
			if err != nil {
				yield(Split{}, err)
				return
			}
			if (cfg.PerFile || size > most) && !flush() {
				return
			}
			for offset := int64(0); offset < size; offset += most {
				part := Part{Path: path, Offset: offset, Length: min(most, size-offset), Size: size}
				if (held+part.Length > most || len(s.Parts) == mostParts) && !flush() {
					return
				}
				s.Parts, held = append(s.Parts, part), held+part.Length
			}
		}
		flush()
	}
}

func sizeOf(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if err := checkRegular(path, info); err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func checkRegular(path string, info os.FileInfo) error {
	switch {
	case info.IsDir():
		return fmt.Errorf("%s is a directory; name its files, as in '%[1]s/*' or, with those below it, '%[1]s/**/*'", path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file that can be cut; read it with --input -", path)
	}
	return nil
}

// Ship yields splits that hold the lines of files themselves, or of a reader when there are no paths.
func Ship(paths []string, from io.Reader, cfg CutConfig) iter.Seq2[Split, error] {
	most := cfg.Split
	if most <= 0 {
		most = DefaultShipped
	}
	return func(yield func(Split, error) bool) {
		sh := &shipper{most: int(most), yield: yield}
		if len(paths) == 0 {
			if sh.read("", from) {
				sh.flush()
			}
			return
		}
		for _, path := range paths {
			if !sh.file(path, cfg.PerFile) {
				return
			}
		}
		sh.flush()
	}
}

// shipper gathers lines.
type shipper struct {
	most  int
	yield func(Split, error) bool
	lines []byte
	from  string // of the lines; empty for more than one file
}

func (sh *shipper) file(path string, alone bool) bool {
	file, err := os.Open(path)
	if err != nil {
		return sh.fail(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err == nil {
		err = checkRegular(path, info)
	}
	if err != nil {
		return sh.fail(err)
	}
	if alone && !sh.flush() {
		return false
	}
	if len(sh.lines) == 0 {
		sh.from = path
	} else {
		sh.from = ""
	}
	return sh.read(path, file)
}

func (sh *shipper) fail(err error) bool {
	sh.yield(Split{}, err)
	return false
}

// flush hands the lines out.
func (sh *shipper) flush() bool {
	if len(sh.lines) == 0 {
		return true
	}
	s := Split{Lines: sh.lines, Origin: sh.from}
	sh.lines = nil
	return sh.yield(s, nil)
}

// read takes all lines of a reader.
func (sh *shipper) read(path string, from io.Reader) bool {
	lines := bufio.NewReaderSize(from, 256<<10)
	for number := 1; ; number++ {
		begin := len(sh.lines)
		err := sh.line(lines)
		length := len(sh.lines) - begin
		switch {
		case errors.Is(err, errLong):
			return sh.fail(fmt.Errorf("line %d of %s is longer than %s, the most that can be sent along; "+
				"put it where the workers see it, and name the file without --ship", number, nameOf(path), plain.Bytes(MostShipped)))
		case err != nil && !errors.Is(err, io.EOF):
			return sh.fail(fmt.Errorf("read %s: %w", nameOf(path), err))
		case begin > 0 && len(sh.lines) > sh.most: // the line belongs to the next split
			last := bytes.Clone(sh.lines[begin:])
			sh.lines = sh.lines[:begin]
			if !sh.flush() {
				return false
			}
			sh.lines, sh.from = last, path
		}
		if err != nil || length == 0 {
			return true
		}
	}
}

var errLong = errors.New("a long line")

// line appends a line, with a newline at its end.
func (sh *shipper) line(lines *bufio.Reader) error {
	begin := len(sh.lines)
	for {
		part, err := lines.ReadSlice('\n')
		sh.lines = append(sh.lines, part...)
		switch {
		case len(sh.lines)-begin > MostShipped:
			return errLong
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(sh.lines) > begin:
			sh.lines = append(sh.lines, '\n')
		}
		return err
	}
}

func nameOf(path string) string {
	if path == "" {
		return "stdin"
	}
	return path
}
