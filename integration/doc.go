// Package integration holds tests only: real servers, several real worker processes, kill -9, SIGSTOP, lost replies, emptied
// servers.
//
//	go test ./integration                        # the short set, on a Redis container or, without Docker, on redis-server
//	go test -v -run Figures ./integration        # what was measured
//	WM_FULL=1 go test -v -timeout 30m ./integration
//	WM_SEEDS=230 go test -v -run TestRunStorm -parallel 4 ./integration # random map/reduce jobs under kills, some four minutes
//
// A worker process is the test binary itself, started again with a role; see process_test.go.
package integration
