//go:build unix

package fleet

import "golang.org/x/sys/unix"

// closeOnExec keeps a descriptor from programs that this process starts. It is false when there is no pipe of that number.
func closeOnExec(fd int) bool {
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil || info.Mode&unix.S_IFMT != unix.S_IFIFO {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		return false
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags|unix.FD_CLOEXEC)
	return err == nil
}
