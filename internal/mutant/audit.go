//go:build mutant_audit

package mutant

const off = "audit"
