package main

import (
	"bytes"
	"context"
	"os"
	"runtime/metrics"
	"strings"
	"sync"
	"time"
)

const mebibyte = 1 << 20

// watchHeap looks at the size of the heap ten times a second; the function it returns tells the most so far, in MiB.
func watchHeap(ctx context.Context) func() float64 {
	var mu sync.Mutex
	most := 0.0
	look := func() float64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		mu.Lock()
		defer mu.Unlock()
		most = max(most, float64(sample[0].Value.Uint64())/mebibyte)
		return most
	}
	go func() {
		_ = every(ctx, 100*time.Millisecond, func() error { // it never fails
			look()
			return nil
		})
	}()
	return look
}

// peakRSS is the most memory this process has had so far, in MiB.
func peakRSS() float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if rest, ok := strings.CutPrefix(string(line), "VmHWM:"); ok {
			return float64(atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))) / 1024
		}
	}
	return 0
}

// pacer hands out the moments at which things may happen, a number of them each second.
type pacer struct {
	mu    sync.Mutex
	apart time.Duration
	next  time.Time
}

// newPacer makes one of a rate; without a rate it is nil, which lets all pass.
func newPacer(rate float64) *pacer {
	if rate == 0 {
		return nil
	}
	return &pacer{apart: time.Duration(float64(time.Second) / rate)}
}

// wait returns when it is the caller's turn.
func (p *pacer) wait() {
	if p == nil {
		return
	}
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now.Add(-100 * time.Millisecond)) { // who was late for long does not catch up
		p.next = now
	}
	turn := p.next
	p.next = p.next.Add(p.apart)
	p.mu.Unlock()
	if ahead := time.Until(turn); ahead > 0 {
		<-time.After(ahead)
	}
}
