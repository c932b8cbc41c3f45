//go:build !linux

package redistest

import "syscall"

// dieWithParent is Linux only; elsewhere a server outlives a test binary that dies without running its cleanups.
func dieWithParent() *syscall.SysProcAttr { return nil }

// awaitStopped is Linux only; elsewhere a stopped server may answer for a moment.
func awaitStopped(int) {}
