package programs

import (
	"errors"
	"strings"
	"testing"
)

// TestWhatIsSignedCannotBeChanged changes each thing that a signature is of.
func TestWhatIsSignedCannotBeChanged(t *testing.T) {
	t.Parallel()
	secret, other := &Secret{key: []byte(strings.Repeat("a", 32))}, &Secret{key: []byte(strings.Repeat("b", 32))}
	d := Description{Spec: Spec{Map: "m", Reduce: "r", Combine: "c"}}
	secret.Sign("job", "run", &d)
	if err := secret.Check("job", "run", d); err != nil {
		t.Errorf("as it was signed: %v", err)
	}
	again, ok := ParseDescription(d.Text())
	if err := secret.Check("job", "run", again); err != nil || !ok {
		t.Errorf("after its way: %v, %v", ok, err)
	}
	for name, change := range map[string]func(d *Description){
		"map": func(d *Description) { d.Map = "x" }, "reduce": func(d *Description) { d.Reduce = "x" }, "combine": func(d *Description) { d.Combine = "" },
		"shell": func(d *Description) { d.Shell = true }, "sum": func(d *Description) { d.Sum = nil },
		"moved": func(d *Description) { d.Map, d.Reduce = "r", "m" }, "sum of another secret": func(d *Description) { other.Sign("job", "run", d) },
	} {
		changed := d
		change(&changed)
		if err := secret.Check("job", "run", changed); !errors.Is(err, ErrUnsigned) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if secret.Check("job2", "run", d) == nil || secret.Check("job", "run2", d) == nil {
		t.Error("it counts for another job or run")
	}

	split := Split{Parts: []Part{{Path: "/a", Length: 1, Size: 1}}, Lines: []byte("l")}
	if err := secret.SignSplit("run", &split); err != nil {
		t.Fatal(err)
	}
	if err := secret.CheckSplit("run", split); err != nil {
		t.Errorf("a split: %v", err)
	}
	path, lines, unsigned := split, split, split
	path.Parts, lines.Lines, unsigned.Sum = []Part{{Path: "/etc/shadow", Length: 1, Size: 1}}, []byte("x"), nil
	for name, changed := range map[string]Split{"path": path, "lines": lines, "sum": unsigned} {
		if err := secret.CheckSplit("run", changed); !errors.Is(err, ErrUnsigned) {
			t.Errorf("%s of a split: %v", name, err)
		}
	}
	if secret.CheckSplit("run2", split) == nil {
		t.Error("a split counts for another run")
	}
}
