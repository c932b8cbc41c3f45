//go:build mutant_replay

package mutant

const off = "replay"
