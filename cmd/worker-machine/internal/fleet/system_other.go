//go:build !linux

package fleet

import "errors"

// rssOf reads /proc, which only Linux has.
func rssOf(int) (int64, error) {
	return 0, errors.New("that needs Linux; --max-age and --max-tasks work everywhere")
}

// adoption does nothing: what a process leaves behind outside of its group stays.
type adoption struct{}

func (*launcher) adopt() *adoption { return nil }

func (*adoption) end() {}
