package inspect

// VersionOf is the check of the version of a server that answers INFO so.
func VersionOf(info string) (Grade, string) {
	f := facts{info: parseInfo(info)}
	grade, found, _ := f.version()
	return grade, found
}
