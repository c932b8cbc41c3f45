//go:build unix

package joblog

import (
	"errors"
	"os"
	"syscall"
)

// lock keeps other processes away until the file is closed, also by a process that is killed.
func lock(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return nil // a file system without locks is no reason to have no log
}
