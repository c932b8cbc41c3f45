package stream

// Awaited is how many tasks of a queue are awaited, once a read names them all.
func (c *Client) Awaited(queue string) int {
	c.mu.Lock()
	a := c.awaits[queue]
	c.mu.Unlock()
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.listed {
		return 0
	}
	return len(a.waits)
}
