package wire

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestLeaseSaysWhoItsWorkerIs(t *testing.T) {
	t.Parallel()
	info := LeaseInfo{
		Host: "web-1", PID: 42, Version: "v1.2.3", Started: 1732360000123, Concurrency: 8,
		Functions: []string{"b", "a"}, Queues: []string{"web"}, Presence: true,
	}
	const want = `{"host":"web-1","pid":42,"version":"v1.2.3","started":1732360000123,"concurrency":8,"functions":["a","b"],"queues":["web"],"presence":true}`
	if got := info.Encode(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	info.Functions = []string{"a", "b"}
	if got := DecodeLeaseInfo("17.5 " + want); !reflect.DeepEqual(got, info) {
		t.Errorf("got %+v\nwant %+v", got, info)
	}
}

func TestLeaseOfAnotherVersionIsReadAsFarAsItFits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want LeaseInfo
	}{
		"a time as text": {`1.2 {"host":"a","started":"2026-11-23T20:00:00Z","pid":7,"presence":true}`, LeaseInfo{Host: "a", PID: 7, Presence: true}},
		"unknown fields": {`1.2 {"host":"a","colour":"red"}`, LeaseInfo{Host: "a"}},
		"no JSON":        {`1.2 host`, LeaseInfo{}},
		"nothing":        {``, LeaseInfo{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := DecodeLeaseInfo(c.text); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%q: got %+v, want %+v", c.text, got, c.want)
			}
		})
	}
}

func TestLeaseNamesFiftyFunctions(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprintf("f%02d", 59-i))
	}
	got := DecodeLeaseInfo("1.2 " + LeaseInfo{Functions: names}.Encode()).Functions
	if len(got) != mostListed+1 || got[0] != "f00" || got[mostListed-1] != "f49" || got[mostListed] != More {
		t.Errorf("got %s", strings.Join(got, " "))
	}
	if names[0] != "f59" {
		t.Error("the caller's list was sorted")
	}
}
