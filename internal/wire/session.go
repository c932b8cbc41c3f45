package wire

// SessionInfo is what a session tells of itself, for people; the numbers are as of its last renewal.
type SessionInfo struct {
	Host     string `json:"host"`
	PID      int    `json:"pid"`
	Function string `json:"function,omitempty"` // of all its tasks
	Began    int64  `json:"began"`              // ms
	Sent     int64  `json:"sent"`               // tasks, items of chunks each
	Done     int64  `json:"done"`               // outcomes that came back
	Failed   int64  `json:"failed"`
}
