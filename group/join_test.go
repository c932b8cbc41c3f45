package group_test

import (
	"reflect"
	"testing"

	"github.com/athoune/worker-machine/group"
)

// TestJoinedHooksAreAllCalled fails for a hook that was forgotten in JoinHooks.
func TestJoinedHooksAreAllCalled(t *testing.T) {
	t.Parallel()
	calls := map[string][]int{}
	make1 := func(n int) group.Hooks {
		var h group.Hooks
		v := reflect.ValueOf(&h).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func([]reflect.Value) []reflect.Value {
				calls[name] = append(calls[name], n)
				return nil
			}))
		}
		return h
	}
	joined := reflect.ValueOf(group.JoinHooks(make1(1), group.Hooks{}, make1(2)))
	for i := range joined.NumField() {
		name, hook := joined.Type().Field(i).Name, joined.Field(i)
		if hook.IsNil() {
			t.Errorf("%s is lost", name)
			continue
		}
		args := make([]reflect.Value, hook.Type().NumIn())
		for n := range args {
			args[n] = reflect.Zero(hook.Type().In(n))
		}
		hook.Call(args)
		if got := calls[name]; !reflect.DeepEqual(got, []int{1, 2}) {
			t.Errorf("%s: called %v, want 1, then 2", name, got)
		}
	}
	if none := reflect.ValueOf(group.JoinHooks(group.Hooks{}, group.Hooks{})); !none.IsZero() {
		t.Error("no hooks make some")
	}
}
