// Package fleet keeps a number of processes of one program alive.
//
//	f, err := fleet.New(fleet.Config{Argv: []string{"php", "worker.php"}, Processes: 25, Printer: printer})
//	err = f.Run(ctx) // until ctx is done and all processes have ended
//
// One goroutine decides, in [Fleet.Run]: it holds all state and acts on reports of processes, on commands and on time. What it
// decides by is in policy.go; processes, their output and the address that tells the state only report to it.
//
// # What a program may say to its supervisor
//
// The variable WM_SUPERVISOR_FD holds the number of an open file descriptor. The program may write lines to it:
//
//	ready      it is able to work; before that, it does not stand for another process in a roll
//	tasks 17   how many tasks it has done since it started, for --max-tasks and for the state that is shown
//
// Lines that are not known are left alone. A program that does not know the descriptor is ready once it prints a line that is
// "ready" or begins with "ready:" or "ready ", or after Config.ReadyAfter. SIGTERM asks it to end what runs and to exit.
package fleet
