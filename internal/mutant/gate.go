//go:build mutant_gate

package mutant

const off = "gate"
