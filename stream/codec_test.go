package stream_test

import (
	"encoding/json"
	"testing"

	"github.com/athoune/worker-machine/stream"
)

// FuzzJSON holds the short ways of the codec to what encoding/json does.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{
		"", `""`, `"`, `"a b"`, `"<&>"`, `"\u00e9"`, `"é"`, ` "a"`, "\"\x7f\"", "\"\n\"", "\"\xff\"", "0", "-0", "-1", "007", "+1", "1e3", "1.0", "12 ",
		"-", "123456789012345678", "-123456789012345678", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "null", "true",
	} {
		f.Add(text, int64(len(text))<<40-1)
	}
	f.Fuzz(func(t *testing.T, text string, n int64) {
		sameEncoding(t, text)
		sameEncoding(t, int(n))
		sameDecoding[string](t, text)
		sameDecoding[int](t, text)
	})
}

func sameEncoding(t *testing.T, v any) {
	t.Helper()
	got, err := stream.JSON.Encode(v)
	want, wantErr := json.Marshal(v)
	if string(got) != string(want) || (err == nil) != (wantErr == nil) {
		t.Errorf("%q is encoded as %q (%v), want %q (%v)", v, got, err, want, wantErr)
	}
}

func sameDecoding[T comparable](t *testing.T, text string) {
	t.Helper()
	var got, want T
	err := stream.JSON.Decode([]byte(text), &got)
	wantErr := json.Unmarshal([]byte(text), &want)
	if got != want || (err == nil) != (wantErr == nil) {
		t.Errorf("%q is decoded as %v (%v), want %v (%v)", text, got, err, want, wantErr)
	}
}
