//go:build unix

package main

import (
	"os"
	"syscall"
)

func supervisorSignals() []os.Signal {
	return []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2}
}

func kindOf(sig os.Signal) int {
	switch sig {
	case syscall.SIGUSR1, syscall.SIGUSR2:
		return passSignal
	case syscall.SIGHUP:
		return rollSignal
	}
	return stopSignal
}
