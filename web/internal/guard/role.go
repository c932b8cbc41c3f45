// Package guard decides who may do what over HTTP.
package guard

import "context"

// Role is what a caller may do. A higher one includes those below it.
type Role int

// The roles, lowest first.
const (
	Nobody  Role = iota
	Read         // look, but for payloads
	Operate      // enqueue, call, pause, cancel, retry, replay; and see payloads
	Admin        // delete and purge
)

type roleKey struct{}

// With notes the role of a request's caller.
func With(ctx context.Context, role Role) context.Context {
	return context.WithValue(ctx, roleKey{}, role)
}

// Of is the role of a request's caller.
func Of(ctx context.Context) Role {
	role, _ := ctx.Value(roleKey{}).(Role)
	return role
}
