package reclaim

import "time"

// RemoveEmptyAfter shortens the minute after which consumers of no use are removed.
func (r *Reclaimer) RemoveEmptyAfter(d time.Duration) { r.empty = d }
