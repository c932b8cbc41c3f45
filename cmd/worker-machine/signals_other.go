//go:build !unix

package main

import "os"

func supervisorSignals() []os.Signal { return []os.Signal{os.Interrupt} }

func kindOf(os.Signal) int { return stopSignal }
