package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A chunk is one entry that stands for many tasks of one function, its items: [Task.Items] says how many, and the payload has theirs one
// after the other. The first has the ID of the chunk plus 1, and so on. What became of items comes back packed likewise, see [Pack].

// MaxItems is how many items a chunk may have: so many IDs are its own.
const MaxItems = numbers - 1

const (
	numbers   = 1 << 16
	alphabet  = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" // Crockford's, of ULIDs
	itemChars = 4                                  // the last characters of an ID hold the number of an item, and 4 bits more
	charBits  = 5
	charMask  = 1<<charBits - 1

	maxPackHead = 64 // bytes of the first line of a pack
)

// tail is the number that the last characters of an ID hold; the ID must be a ULID.
func tail(id string) (n int) {
	for i := IDLength - itemChars; i < IDLength; i++ {
		n = n<<charBits | strings.IndexByte(alphabet, id[i])
	}
	return n
}

func appendTail(b []byte, n int) []byte {
	for shift := (itemChars - 1) * charBits; shift >= 0; shift -= charBits {
		b = append(b, alphabet[n>>shift&charMask])
	}
	return b
}

// IsChunkID tells whether an ID has room for the numbers of items: its lowest 16 bits are zero.
func IsChunkID(id string) bool { return isULID(id) && tail(id)%numbers == 0 }

// ItemID is the ID of an item of a chunk.
func ItemID(chunk string, item int) string {
	b := make([]byte, 0, IDLength)
	return string(appendTail(append(b, chunk[:IDLength-itemChars]...), tail(chunk)+1+item))
}

// ItemIDs are the IDs of all n items of a chunk, in one string for [IDAt]: many small strings would cost more than all else.
func ItemIDs(chunk string, n int) string {
	var all strings.Builder
	all.Grow(n * IDLength)
	id := append(make([]byte, 0, IDLength), chunk...)
	for number, left := tail(chunk)+1, n; left > 0; number, left = number+1, left-1 {
		last := number & charMask
		if last == 0 || left == n { // only now others than the last character change
			id = appendTail(id[:IDLength-itemChars], number)
		}
		id[IDLength-1] = alphabet[last]
		all.Write(id)
	}
	return all.String()
}

// IDAt is one of [ItemIDs].
func IDAt(ids string, item int) string { return ids[item*IDLength : (item+1)*IDLength] }

// ItemOf tells of which chunk, and which of its items, a task would be: there may be no such chunk.
func ItemOf(id string) (chunk string, item int, ok bool) {
	if !isULID(id) || IsChunkID(id) {
		return "", 0, false
	}
	n := tail(id)
	b := make([]byte, 0, IDLength)
	return string(appendTail(append(b, id[:IDLength-itemChars]...), n-n%numbers)), n%numbers - 1, true
}

// AppendItem adds the payload of the next item to that of a chunk.
func AppendItem(pack, payload []byte) []byte {
	return append(binary.AppendUvarint(pack, uint64(len(payload))), payload...)
}

// FirstItem is the payload of the first item of what [AppendItem] made.
func FirstItem(pack []byte) []byte {
	first, _, _ := cut(pack)
	return first
}

// SplitItems returns the payloads of the items of a chunk; they are parts of its own. It returns a [*MalformedError] when the payload
// does not hold as many as the chunk says.
func (t *Task) SplitItems() ([][]byte, error) {
	// Each takes a byte at least: what a header says must not make room for more than there is.
	if t.Items < 1 || t.Items > MaxItems || t.Items > len(t.Payload) || !IsChunkID(t.ID) {
		return nil, &MalformedError{Why: fmt.Sprintf("a chunk of %d items in %d bytes", t.Items, len(t.Payload))}
	}
	items := make([][]byte, t.Items)
	rest := t.Payload
	for i := range items {
		var ok bool
		if items[i], rest, ok = cut(rest); !ok {
			return nil, &MalformedError{Why: fmt.Sprintf("a chunk of %d items that ends in item %d", t.Items, i)}
		}
	}
	if len(rest) > 0 {
		return nil, &MalformedError{Why: fmt.Sprintf("a chunk of %d items with %d bytes more", t.Items, len(rest))}
	}
	return items, nil
}

// Item is an item of a chunk as a task of its own.
func (t *Task) Item(item int, payload []byte) Task {
	single := *t
	single.ID, single.Items, single.Payload = ItemID(t.ID, item), 0, payload
	return single
}

// cut takes a length and as many bytes from the front.
func cut(b []byte) (value, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 { // the usual: short
		end := 1 + int(b[0])
		if end > len(b) {
			return nil, nil, false
		}
		return b[1:end:end], b[end:], true
	}
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) || n > 1 && b[n-1] == 0 { // of a length there is one way to write it
		return nil, nil, false
	}
	end := n + int(size) //nolint:gosec // not above the length of b
	return b[n:end:end], b[end:], true
}

// Pack is what became of the items of a chunk, as far as it tells. As text, after [KindPack]:
//
//	<items> <ns>\n      then for each item: the length of its result, the result
//	<items> <ns> m\n    then for each item: its kind, the length of what follows, the result or failure
type Pack struct {
	Items int
	Each  time.Duration // handler time of an item, in the mean; 0 when none ran

	mixed bool
	body  []byte
}

// PackWriter puts a [Pack] together, item by item in their order.
type PackWriter struct {
	b     []byte
	mixed bool
}

// NewPackWriter begins the pack of a chunk with so many items; mixed says that it has more than results. size is about how many bytes
// it will have.
func NewPackWriter(items int, each time.Duration, mixed bool, size int) *PackWriter {
	w := &PackWriter{b: make([]byte, 0, size+2*items+32), mixed: mixed}
	w.b = strconv.AppendInt(append(w.b, byte(KindPack)), int64(items), 10)
	w.b = strconv.AppendInt(append(w.b, ' '), max(0, each.Nanoseconds()), 10)
	if mixed {
		w.b = append(w.b, " m"...)
	}
	w.b = append(w.b, '\n')
	return w
}

// Add adds the next item: a result, a failure as [Failure.Encode] has it, or, without data, one that was moved or of which nothing is
// told here. A pack that is not mixed takes results only.
func (w *PackWriter) Add(kind Kind, data []byte) {
	if w.mixed {
		w.b = append(w.b, byte(kind))
	} else if kind != KindResult {
		panic("wire: " + string(kind) + " in a pack of results")
	}
	w.b = AppendItem(w.b, data)
}

// Text is the outcome as the reply stream carries it under the ID of the chunk.
func (w *PackWriter) Text() []byte { return w.b }

// decodePack reads what follows [KindPack] and checks all of it.
func decodePack(rest []byte) (Pack, error) {
	p, err := decodePackHead(rest)
	if err != nil {
		return Pack{}, err
	}
	check := p
	for range check.Items {
		kind, _, ok := check.Next()
		if !ok || kind != KindResult && kind != KindFailure && kind != KindMoved && kind != KindNone {
			return Pack{}, &MalformedError{Why: "a pack that ends in an item"}
		}
	}
	if len(check.body) > 0 {
		return Pack{}, &MalformedError{Why: "a pack with more than its items"}
	}
	return p, nil
}

// decodePackHead reads the line that a pack begins with.
func decodePackHead(rest []byte) (Pack, error) {
	end := bytes.IndexByte(rest, '\n')
	if end < 0 || end > maxPackHead {
		return Pack{}, &MalformedError{Why: "a pack starts with a line"}
	}
	head := string(rest[:end])
	items, each, _ := strings.Cut(head, " ")
	each, mark, mixed := strings.Cut(each, " ")
	n, err := number(items, 1, MaxItems)
	if err != nil {
		return Pack{}, &MalformedError{Why: "a pack of items: " + err.Error()}
	}
	ns, err := number(each, 0, math.MaxInt64)
	if err != nil || mixed && mark != "m" {
		return Pack{}, &MalformedError{Why: fmt.Sprintf("a pack that begins with %q", clip(head, 40))}
	}
	p := Pack{Items: int(n), Each: time.Duration(ns), mixed: mixed, body: rest[end+1:]}
	if p.Items > len(p.body) {
		return Pack{}, &MalformedError{Why: fmt.Sprintf("a pack of %d items in %d bytes", p.Items, len(p.body))}
	}
	return p, nil
}

// Mixed tells whether the pack may have more than results.
func (p *Pack) Mixed() bool { return p.mixed }

// Size is how many bytes the items take.
func (p *Pack) Size() int { return len(p.body) }

// Next takes the next item off the pack, in their order: read a copy to keep it. It reports false at the end.
func (p *Pack) Next() (kind Kind, data []byte, ok bool) {
	kind = KindResult
	if p.mixed {
		if len(p.body) == 0 {
			return kind, nil, false
		}
		kind, p.body = Kind(p.body[0]), p.body[1:]
	}
	data, rest, ok := cut(p.body)
	p.body = rest
	return kind, data, ok
}
