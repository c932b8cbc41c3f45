//go:build !unix

package fleet

// closeOnExec is for systems that pass descriptors on by number.
func closeOnExec(int) bool { return false }
