package main

import "syscall"

// dieWithParent makes the kernel end a child when this process is killed with kill -9.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
