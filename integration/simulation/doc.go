// Package simulation holds the tests that run workers and clients in virtual time, with faults made from a seed.
//
//	go test -run TestSimulation ./integration/simulation
//	WM_SEED=17 go test -run TestSimulation ./integration/simulation
//	WM_SEEDS=10000 go test -run TestSimulation ./integration/simulation
//
// The code is that of the library. Redis is miniredis, called without a socket; between the two lies a network that loses, delays and
// repeats nothing by chance, but as the seed says. All of it is in a bubble of testing/synctest, where waiting takes no time.
package simulation
