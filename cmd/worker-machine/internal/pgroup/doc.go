// Package pgroup starts programs in process groups of their own and ends them with all that they started.
package pgroup
