// Package turn takes turns at what may last: a call to Redis, and what leads to it.
//
//	var calling turn.Lock
//	calling.Lock()
//	defer calling.Unlock()
//
// A sync.Mutex would do, but for one thing: in the virtual time of testing/synctest nobody may wait long for one. Time stands still there
// while a goroutine waits for a mutex, so an answer of Redis that is to come later never comes.
package turn

import "sync"

// Lock is held by one goroutine at a time. The zero value is free; it is not to be copied once it is in use.
type Lock struct {
	make sync.Once
	held chan struct{} // has room for one
}

// Lock waits until nobody holds it, and takes it.
func (l *Lock) Lock() {
	l.make.Do(func() { l.held = make(chan struct{}, 1) })
	l.held <- struct{}{}
}

// Unlock lets the next one have it. Whoever calls it holds it.
func (l *Lock) Unlock() { <-l.held }
