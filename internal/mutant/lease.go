//go:build mutant_lease

package mutant

const off = "lease"
