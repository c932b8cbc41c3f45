package wire

import "strings"

// ParseLease splits the text of a lease key: the fence, which is new each time the lease is made, and the value its worker gave.
func ParseLease(text string) (fence, value string) {
	fence, value, _ = strings.Cut(text, " ")
	return fence, value
}
