//go:build !mutant_sequence && !mutant_gate && !mutant_lease && !mutant_reconcile && !mutant_audit && !mutant_replay

package mutant

const off = ""
