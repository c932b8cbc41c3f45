//go:build mutant_reconcile

package mutant

const off = "reconcile"
