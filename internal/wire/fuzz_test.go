package wire_test

import (
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/wire"
)

func FuzzDecode(f *testing.F) {
	for _, task := range samples {
		fields := task.Fields()
		f.Add(fields[0], fields[1], "")
	}
	f.Add("v2", "", "x")
	f.Add("v1", taskID+" f to=1099511627776 e=%C3%A9%80 h.a=%00\n", "v1")
	f.Fuzz(func(t *testing.T, name, value, foreign string) {
		fields := []string{foreign, "1", name, value, foreign}
		_, _ = wire.Decode(fields)
		task, err := wire.Decode(fields[:4])
		if err != nil {
			return
		}
		if err := task.Check(); err != nil {
			t.Errorf("decoded %q to what Check refuses: %v", fields, err)
		}
		again, err := wire.Decode(task.Fields())
		if err != nil || !equal(again, task) {
			t.Errorf("decoded %q to %+v, and that encoded to %+v, %v", fields, task, again, err)
		}
	})
}

func FuzzDecodeBody(f *testing.F) {
	for _, task := range samples {
		f.Add(task.Body())
	}
	f.Add("v1 \n")
	f.Fuzz(func(t *testing.T, body string) {
		task, err := wire.DecodeBody(body)
		if err != nil {
			return
		}
		again, err := wire.DecodeBody(task.Body())
		task.Promoted = true
		if err != nil || !equal(again, task) {
			t.Errorf("decoded %q to %+v, and that encoded to %+v, %v", body, task, again, err)
		}
	})
}

func FuzzDecodeOutcome(f *testing.F) {
	for _, o := range outcomes {
		f.Add(taskID, o.Encode())
	}
	f.Add("v", "1")
	f.Fuzz(func(t *testing.T, id, text string) {
		o, err := wire.DecodeOutcome(id, text)
		if err != nil {
			return
		}
		again, err := wire.DecodeOutcome(id, o.Encode())
		if err != nil || !sameOutcome(again, o) {
			t.Errorf("decoded %q to %+v, and that encoded to %+v, %v", text, o, again, err)
		}
	})
}

func FuzzRaw(f *testing.F) {
	f.Add("a\x00\xff")
	f.Fuzz(func(t *testing.T, text string) {
		if raw := wire.Raw([]string{text, text}); len(raw) > 4096 || strings.ContainsAny(raw, "\n\x1b") {
			t.Errorf("raw of %q: %q", text, raw)
		}
	})
}
