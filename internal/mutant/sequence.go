//go:build mutant_sequence

package mutant

const off = "sequence"
