//go:build !linux

package main

import "syscall"

// dieWithParent does nothing: the child notices that its stdin ended.
func dieWithParent() *syscall.SysProcAttr { return nil }
